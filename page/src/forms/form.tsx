import type { Problem, Schema } from "../wire/types";

export interface SchemaFormProps {
  schema: Schema;
  value?: unknown;
  /** The word on the button. */
  submit: string;
  onSubmit(value: unknown): void;
  /** While it is sent. */
  busy?: boolean;
  problem?: Problem | null;
  /** Why nothing can be sent; "" if it can. */
  disabled?: string;
}

export function SchemaForm({ submit, onSubmit }: SchemaFormProps) {
  return <button class="button primary" type="button" onClick={() => onSubmit(null)}>{submit}</button>;
}
