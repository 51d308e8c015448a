// What the typed fields cannot say, as a table.
import { byId, counted, el } from "./dom.js";

const ROWS = 200;
const SHOWN = 300;

export interface ResidueRow {
  path: string;
  state: string;
  value: string;
}

export function showResidue(rows: ResidueRow[] | undefined): void {
  const body = byId("residue-rows");
  const note = byId("residue-note");
  byId("residue-table").hidden = rows === undefined || rows.length === 0;
  body.replaceChildren(
    ...(rows ?? []).slice(0, ROWS).map((row) =>
      el(
        "tr",
        {},
        el("td", { "data-label": "path" }, el("code", {}, row.path)),
        el("td", { "data-label": "state" }, el("span", { class: `state ${row.state}` }, row.state)),
        el("td", { "data-label": "value" }, el("code", {}, shortened(row.value))),
      ),
    ),
  );
  if (rows === undefined) note.textContent = "";
  else if (rows.length === 0) note.textContent = "None: the typed fields say all that the JSON says.";
  else if (rows.length <= ROWS) note.textContent = `${counted(rows.length, "member")} beyond the typed fields.`;
  else note.textContent = `${counted(rows.length, "member")} beyond the typed fields; the first ${ROWS} are shown.`;
}

function shortened(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)} … (${text.length} characters)` : text;
}
