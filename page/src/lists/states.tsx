/** How a list looks that could not be read. */
import type { Problem } from "../wire/types";

export function Failure({ title, problem, onAgain }: { title: string; problem: Problem; onAgain?: () => void }) {
  return (
    <div class="list-failure" role="alert">
      <p><strong><span aria-hidden="true">✗ </span>{title}</strong></p>
      <p class="list-detail">{(problem.detail || problem.title).slice(0, 1000)}</p>
      {onAgain && <button type="button" onClick={onAgain}>Try again</button>}
    </div>
  );
}
