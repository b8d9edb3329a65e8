/** A JSON Schema as a table that can be read. */
import { useMemo } from "preact/hooks";
import { line } from "../values/text";
import { Value } from "../values/value";
import type { Schema } from "../wire/types";
import { describe, isAny } from "./describe";

export function SchemaTable({ schema, name }: { schema: Schema; name: string }) {
  const it = useMemo(() => describe(schema), [schema]);
  return (
    <div class="flow-schema">
      <p>
        <span class="flow-type">{line(it.type, 300)}</span>
        {it.limits && <span class="muted">, {line(it.limits, 300)}</span>}
      </p>
      {it.about && <p class="muted flow-about">{it.about.slice(0, 2000)}</p>}
      {it.fields.length > 0 && (
        <div class="flow-scroll" tabIndex={0} role="region" aria-label={`Fields of ${name}`}>
          <table class="flow-fields" role="table">
            <thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Field</th><th role="columnheader" scope="col">Type</th><th role="columnheader" scope="col">Notes</th></tr></thead>
            <tbody role="rowgroup">
              {it.fields.map((field, number) => (
                <tr role="row" key={number}>
                  <th role="rowheader" scope="row" class="mono" style={{ paddingLeft: `${8 + field.depth * 16}px` }}>
                    {line(field.name, 100)}
                    {field.needed && <span class="flow-needed" title="It must be there"><span aria-hidden="true">*</span><span class="unseen"> must be there</span></span>}
                  </th>
                  <td role="cell">{line(field.type, 300)}</td>
                  <td role="cell" class="muted flow-notes">
                    {field.limits && <span class="flow-limits">{line(field.limits, 300)}</span>}
                    {field.about && <span class="flow-note">{field.about.slice(0, 1000)}</span>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {it.more && <p class="muted small">There are more fields: see the JSON.</p>}
      {!isAny(schema) && (
        <details class="flow-json">
          <summary class="small">JSON Schema</summary>
          <Value value={schema} open={2} copy />
        </details>
      )}
    </div>
  );
}
