// The package as npm would publish it: what is in it, that Node can import it,
// and that TypeScript agrees with its declarations.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const folder = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const tsc = join(folder, "node_modules", "typescript", "bin", "tsc");

/** A program's folder in which the package is installed. */
let program;
/** Paths in the package. */
let packed;

before(async () => {
  program = mkdtempSync(join(tmpdir(), "polywire-client-"));
  const { stdout } = await run("npm", ["pack", "--offline", "--json", "--pack-destination", program], { cwd: folder });
  // What the scripts say comes before the list.
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.search(/^\[$/m)));
  packed = files.map((f) => f.path);
  const home = join(program, "node_modules", "@polywire", "client");
  mkdirSync(home, { recursive: true });
  await run("tar", ["-xzf", join(program, filename), "--strip-components=1", "-C", home]);
  writeFileSync(join(program, "package.json"), '{"type":"module"}');
});

after(() => rmSync(program, { recursive: true, force: true }));

test("it has the modules, their declarations and the words about them, and nothing else", async () => {
  const modules = readdirSync(folder).filter((name) => name.endsWith(".js"));
  const declarations = modules.map((name) => `types/${name.replace(/\.js$/, ".d.ts")}`);
  assert.deepEqual([...packed].sort(), ["LICENSE", "README.md", "package.json", ...modules, ...declarations].sort());
  assert.equal(readFileSync(join(folder, "LICENSE"), "utf8"), readFileSync(join(folder, "..", "..", "LICENSE"), "utf8"));
});

test("the manifest has what a registry and its readers want", () => {
  for (const key of ["name", "version", "description", "license", "repository", "engines", "exports", "types"]) {
    assert.ok(manifest[key], key);
  }
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.type, "module");
  assert.equal(manifest.private, undefined);
});

test("it stays small", () => {
  const bytes = readdirSync(folder)
    .filter((name) => name.endsWith(".js"))
    .reduce((sum, name) => sum + readFileSync(join(folder, name)).length, 0);
  assert.ok(bytes < 64 << 10, `${bytes} bytes of source, comments included`);
});

test("Node imports it by its name, and nothing but that", async () => {
  const script = `
    import { Client, PolywireError, reconnects } from "@polywire/client";
    const inner = await import("@polywire/client/envelope.js").then(() => "open", (e) => e.code);
    console.log(typeof Client, new PolywireError("a").code, reconnects(3001), inner);`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], { cwd: program });
  assert.equal(stdout, "function a true ERR_PACKAGE_PATH_NOT_EXPORTED\n");
});

for (const [module, resolution] of [["NodeNext", "NodeNext"], ["ESNext", "Bundler"]]) {
  test(`tsc agrees: moduleResolution ${resolution}`, async () => {
    copyFileSync(join(folder, "test-package", "use.ts"), join(program, "use.ts"));
    const compilerOptions = { noEmit: true, strict: true, target: "ES2022", lib: ["ES2022", "DOM"], types: [], skipDefaultLibCheck: true, module, moduleResolution: resolution };
    writeFileSync(join(program, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
    await run(process.execPath, [tsc, "-p", program]).catch((failed) => assert.fail(failed.stdout));
  });
}
