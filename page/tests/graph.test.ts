import assert from "node:assert/strict";
import { test } from "node:test";
import { first, fit, pan, reveal, zoom } from "../src/graph/camera";
import { digest } from "../src/graph/client";
import { cut, estimate, prepare } from "../src/graph/label";
import { standing, type States } from "../src/graph/standing";
import { neighbour } from "../src/graph/walk";
import type { OperatorState } from "../src/model/track";
import { brief, drawing } from "./drawings";

const VIEW = { width: 400, height: 600 };
const of = (state: OperatorState["state"], ended = 1, total = 1): OperatorState => ({ state, total, ended, failed: 0, cancelled: 0, last: ended });

test("a graph that fits is first seen whole, in the middle and not larger than it is", () => {
  assert.deepEqual(first({ width: 200, height: 300 }, VIEW), { k: 1, x: 100, y: 40 });
  assert.equal(first({ width: 500, height: 300 }, VIEW).k, 344 / 500);
});

test("of a graph that is too large, the beginning is first seen, so that it can be read", () => {
  const camera = first({ width: 300, height: 9000 }, VIEW);
  assert.deepEqual(camera, { k: 1, x: 50, y: 16 });
  assert.equal(first({ width: 3000, height: 9000 }, VIEW).k, 0.62);
  assert.ok(fit({ width: 3000, height: 9000 }, VIEW).k * 9000 <= 600);
});

test("zooming keeps the point under the pointer", () => {
  const before = { k: 0.8, x: 12, y: -30 }, after = zoom(before, 1.7, 120, 200);
  const point = (camera: typeof before): number[] => [(120 - camera.x) / camera.k, (200 - camera.y) / camera.k];
  point(before).forEach((it, number) => assert.ok(Math.abs(it - point(after)[number]!) < 1e-9));
  assert.equal(zoom(before, 1000, 0, 0).k, 2.5);
  assert.equal(zoom(before, 0, 0, 0).k, 0.04);
});

test("a graph cannot be moved out of sight", () => {
  const camera = pan({ k: 1, x: 0, y: 0 }, -99999, 99999, { width: 300, height: 900 }, VIEW);
  assert.ok(camera.x + 300 >= 48 && camera.y <= 600 - 48);
});

test("a box that is seen moves nothing, and another one as little as needed", () => {
  const camera = { k: 1, x: 0, y: 0 };
  assert.equal(reveal(camera, { x: 100, y: 100, width: 80, height: 40 }, VIEW), camera);
  assert.deepEqual(reveal(camera, { x: 100, y: 700, width: 80, height: 40 }, VIEW), { k: 1, x: 0, y: -156 });
  assert.deepEqual(reveal(camera, { x: -50, y: 0, width: 80, height: 40 }, VIEW), { k: 1, x: 66, y: 16 });
});

test("arrow keys go to the nearest box in that direction", () => {
  const box = (key: string, x: number, y: number) => ({ key, x, y, width: 80, height: 38 });
  const boxes = [box("a", 100, 0), box("b", 0, 100), box("c", 110, 110), box("d", 200, 100)];
  assert.equal(neighbour(boxes, boxes[0]!, "ArrowDown")!.key, "c");
  assert.equal(neighbour(boxes, boxes[2]!, "ArrowLeft")!.key, "b");
  assert.equal(neighbour(boxes, boxes[2]!, "ArrowRight")!.key, "d");
  assert.equal(neighbour(boxes, boxes[0]!, "ArrowUp"), undefined);
});

test("names that are too long are cut, and their whole text is kept; what nobody can see is shown", () => {
  assert.equal(cut("short", 100, (it) => it.length * 7), "short");
  assert.equal(cut("a very long name of a step", 70, (it) => it.length * 7), "a very lo…");
  const long = drawing(["start", `step_${"x".repeat(500)}`, "a\u202eb\nc"], [[0, 1], [1, 2]]);
  const { parts, graph } = prepare(long, new Map(), estimate);
  assert.ok(parts.get("n1")!.lines[0]!.endsWith("…") && parts.get("n1")!.whole.length >= 300);
  assert.ok(graph.boxes.every((it) => it.width <= 300 && it.width % 2 === 0));
  assert.ok(!parts.get("n2")!.lines[0]!.includes("\u202e"));
});

test("the width of a box does not depend on its state, and a longer label never makes it smaller", () => {
  const widths = ["a", "abcdefghijkl", "abcdefghijklmnopqrstuvwxyz"].map((it) => prepare(drawing([it], []), new Map(), estimate).graph.boxes[0]!.width);
  assert.deepEqual(widths, [...widths].sort((one, other) => one - other));
});

test("equal layouts have one name, others have others", () => {
  assert.equal(digest("abc"), digest("abc"));
  assert.equal(new Set(Array.from({ length: 1000 }, (_, number) => digest(`graph ${number}`))).size, 1000);
});

test("boxes without runs are passed when what follows has begun", () => {
  const one = drawing(["start", "a", "and", "b", "end"], [[0, 1], [1, 2], [2, 3], [3, 4]]);
  Object.assign(one.boxes[2]!, { shape: "gate", operators: [] });
  Object.assign(one.boxes[4]!, { shape: "result", operators: [] });
  const states = (...all: [string, OperatorState][]): States => new Map(all);
  assert.deepEqual(standing(one, states()).lines, ["", "", "", ""]);
  const begun = standing(one, states(["a", of("running", 0)]));
  assert.deepEqual([...begun.reached].sort(), ["n0", "n1"]);
  assert.deepEqual(begun.lines, ["passed", "", "", ""]);
  const further = standing(one, states(["a", of("done")], ["b", of("running", 0)]));
  assert.deepEqual(further.lines, ["passed", "passed", "passed", ""]);
  assert.deepEqual(standing(one, states(["a", of("done")], ["b", of("done")])).lines.at(-1), "");
  assert.deepEqual(standing(one, states(["a", of("done")], ["b", of("done")]), true).lines.at(-1), "passed");
});

test("of a choice only the way is passed that was taken, and a condition that failed is marked", () => {
  const head = brief.boxes.find((it) => it.shape === "choice" && it.block === "b3")!;
  const operator = (name: string): string => brief.boxes.find((it) => it.lines[0] === name)!.operators[0]!;
  const states: States = new Map([[head.operators[0]!, of("done", 0, 0)], [operator("ask"), of("asking", 0)]]);
  const { lines } = standing(brief, states);
  const to = (name: string): string => lines[brief.lines.findIndex((it) => it.source === head.key && it.target === brief.boxes.find((box) => box.lines[0] === name)!.key)]!;
  assert.equal(to("ask"), "passed");
  assert.equal(to("middle"), "");
  const condition = brief.lines.find((it) => it.label === "lambda")!;
  const failed = standing(brief, new Map([[condition.operators[0]!, of("failed")]]));
  assert.equal(failed.lines[brief.lines.indexOf(condition)], "failed");
});

test("a signal is not passed where the step behind it may have been reached by its other way", () => {
  const one = drawing(["start", "a", "redo", "b"], [[0, 1], [1, 3], [2, 3]]);
  Object.assign(one.boxes[2]!, { shape: "signal", operators: [] });
  const both = standing(one, new Map([["a", of("done")], ["b", of("running", 0)]]));
  assert.ok(!both.reached.has("n2"));
  assert.deepEqual(both.lines, ["passed", "passed", ""]);
  const only = standing(one, new Map([["b", of("running", 0)]]));
  assert.ok(only.reached.has("n2"));
});
