import type { PartialAnchorHTMLAttributes, TargetedMouseEvent } from "preact";
import { go, href, type Route } from "./route";

type LinkProps = Omit<PartialAnchorHTMLAttributes<HTMLAnchorElement>, "href" | "role" | "onClick"> & {
  to: Route;
  /** Without a step of its own in the history. */
  replace?: boolean;
  onClick?: (event: TargetedMouseEvent<HTMLAnchorElement>) => void;
};

/** A link inside of the page. It is a true link: it can be opened in another tab, and copied. */
export function Link({ to, replace, onClick, ...rest }: LinkProps) {
  const follow = (event: TargetedMouseEvent<HTMLAnchorElement>): void => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to, { replace });
  };
  return <a {...rest} href={href(to)} onClick={follow} />;
}
