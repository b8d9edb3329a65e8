// Builds the page into the Python package, where the server finds it: `node build.mjs`. The same sources give the same
// bytes, so that CI can compare. `--tests` bundles tests/*.test.ts(x) for `node --test`, `--watch` builds at each change.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as esbuild from "esbuild";
import { minify } from "terser";

const OUT = process.env.OUT ?? new URL("../src/triggerflow/server/static/", import.meta.url).pathname;
const common = { bundle: true, format: "esm", target: "es2022", jsx: "automatic", jsxImportSource: "preact", charset: "utf8", logLevel: "warning" };

if (process.argv.includes("--tests")) {
  const TESTS = process.env.TESTS ?? ".tests";
  rmSync(TESTS, { recursive: true, force: true });
  const tests = readdirSync("tests").filter((name) => /\.test\.tsx?$/.test(name)).map((name) => `tests/${name}`);
  await esbuild.build({ ...common, entryPoints: tests, outdir: TESTS, outExtension: { ".js": ".mjs" }, platform: "node", sourcemap: "inline" });
} else {
  mkdirSync(OUT, { recursive: true });
  for (const name of readdirSync(OUT)) if (/^(app|layout|part-\w+)\.(js|css)$/.test(name)) rmSync(`${OUT}${name}`); // parts change their names
  for (const name of ["index.html", "icon.svg"]) cpSync(name, `${OUT}${name}`);
  const options = { ...common, entryPoints: { app: "src/main.tsx", layout: "src/graph/worker.ts" }, outdir: OUT, minify: true, legalComments: "none", splitting: true, chunkNames: "part-[hash]" };
  if (process.argv.includes("--watch")) await (await esbuild.context(options)).watch();
  else {
    await esbuild.build(options);
    await shrink();
  }
  // All styles are in app.css, so that a view that comes later does not move; esbuild writes those of each part as well.
  for (const name of readdirSync(OUT)) if (/^part-.*\.css$/.test(name)) rmSync(`${OUT}${name}`);
}

/** Terser makes the scripts some 4 % smaller than esbuild does. */
async function shrink() {
  const options = { module: true, ecma: 2020, compress: { passes: 2, pure_getters: true, unsafe_arrows: true } };
  for (const name of readdirSync(OUT).filter((it) => it.endsWith(".js"))) {
    writeFileSync(`${OUT}${name}`, (await minify(readFileSync(`${OUT}${name}`, "utf8"), options)).code);
  }
}
