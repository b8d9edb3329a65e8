import assert from "node:assert/strict";
import { test } from "node:test";
import { href, parse, type Route } from "../src/app/route";

const ROUTES: Route[] = [
  { view: "runs" },
  { view: "runs", flow: "a b", status: "failed,running", text: "x&y=1#", label: "team:spâce", range: "day", parent: "p/1" },
  { view: "waiting" },
  { view: "flows" },
  { view: "flow", flow: "<b>&?" },
  { view: "execution", id: "a/b?c#d%2F" },
  { view: "execution", id: "x", moment: 0, run: 3, tab: "stream" },
  { view: "compare", one: "a", other: "b/c" },
];

test("an address gives the route that it was made of", () => {
  for (const route of ROUTES) {
    const url = new URL(href(route), "http://localhost/mounted/");
    assert.equal(url.pathname, "/mounted/");
    assert.equal(url.hash, "");
    assert.deepEqual(parse(url.search), route);
  }
});

test("what makes no sense in an address is left out", () => {
  assert.deepEqual(parse(""), { view: "runs" });
  assert.deepEqual(parse("?view=nothing&flow=a"), { view: "runs", flow: "a" });
  assert.deepEqual(parse("?view=execution"), { view: "runs" });
  assert.deepEqual(parse("?view=flow"), { view: "flows" });
  assert.deepEqual(parse("?view=execution&id=x&moment=-1&run=1e9&tab=evil"), { view: "execution", id: "x" });
  assert.deepEqual(parse("?view=execution&id=x&moment=99999999999999999999"), { view: "execution", id: "x" });
  assert.deepEqual(parse("?view=compare&one=a"), { view: "compare", one: "a" });
  assert.deepEqual(parse("?view=compare&other=a"), { view: "runs" });
});
