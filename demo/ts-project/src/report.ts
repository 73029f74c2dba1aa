import { label, type Found } from "./walk.js";

export interface Row {
  readonly label: string;
  readonly count: number;
  readonly bytes: number;
}

/** Counts what was found by label; the largest total comes first, then by label. */
export async function summarise(found: AsyncIterable<Found> | Iterable<Found>): Promise<Row[]> {
  const rows = new Map<string, Row>();
  for await (const item of found) {
    const key = label(item);
    const row = rows.get(key) ?? { label: key, count: 0, bytes: 0 };
    rows.set(key, { ...row, count: row.count + 1, bytes: row.bytes + item.bytes });
  }
  return [...rows.values()].sort(
    (left, right) => right.bytes - left.bytes || (left.label < right.label ? -1 : 1),
  );
}

export function render(rows: readonly Row[]): string {
  const width = Math.max(...rows.map((row) => row.label.length), 5);
  const line = (name: string, count: string, bytes: string): string =>
    `${name.padEnd(width)} ${count.padStart(7)} ${bytes.padStart(11)}`;
  return [
    line("label", "count", "bytes"),
    ...rows.map((row) => line(row.label, String(row.count), String(row.bytes))),
  ].join("\n");
}
