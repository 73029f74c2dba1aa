import { lstat, readdir } from "node:fs/promises";
import { extname, join } from "node:path";

export type Kind = "file" | "directory" | "symlink" | "other";

export interface Found {
  readonly path: string;
  readonly kind: Kind;
  readonly bytes: number;
}

/** Yields everything below `root`, parents before children, without following symlinks. */
export async function* walk(root: string): AsyncGenerator<Found> {
  for (const name of (await readdir(root)).sort()) {
    const path = join(root, name);
    const stats = await lstat(path);
    if (stats.isDirectory()) {
      yield { path, kind: "directory", bytes: 0 };
      yield* walk(path);
    } else if (stats.isFile()) {
      yield { path, kind: "file", bytes: stats.size };
    } else {
      yield { path, kind: stats.isSymbolicLink() ? "symlink" : "other", bytes: 0 };
    }
  }
}

/** The word a file is counted under: its extension, or what it is. */
export function label(found: Found): string {
  return found.kind === "file" ? extname(found.path) || "(none)" : found.kind;
}
