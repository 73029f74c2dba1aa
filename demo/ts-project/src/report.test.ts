import assert from "node:assert/strict";
import { mkdtemp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { render, summarise } from "./report.js";
import { walk } from "./walk.js";

// Beside this file, not in the system's temporary directory: on the tree under test.
async function sample(): Promise<string> {
  const root = await mkdtemp(fileURLToPath(new URL("sample-", import.meta.url)));
  await mkdir(join(root, "inner"));
  await writeFile(join(root, "inner", "a.ts"), "x".repeat(100));
  await writeFile(join(root, "b.ts"), "y".repeat(20));
  await writeFile(join(root, "README"), "z");
  await symlink("inner", join(root, "link"));
  return root;
}

void test("counts by label and never follows a symlink", async () => {
  const root = await sample();
  try {
    assert.deepEqual(await summarise(walk(root)), [
      { label: ".ts", count: 2, bytes: 120 },
      { label: "(none)", count: 1, bytes: 1 },
      { label: "directory", count: 1, bytes: 0 },
      { label: "symlink", count: 1, bytes: 0 },
    ]);
  } finally {
    await rm(root, { recursive: true });
  }
});

void test("renders aligned columns", async () => {
  const text = render(await summarise([{ path: "a.md", kind: "file", bytes: 7 }]));
  assert.equal(text, "label   count       bytes\n.md         1           7");
});

void test("a missing directory is an error, not an empty report", async () => {
  await assert.rejects(summarise(walk("/no/such/directory")), { code: "ENOENT" });
});
