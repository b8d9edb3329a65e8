import assert from "node:assert/strict";
import { test } from "node:test";
import { estimate, prepare } from "../src/graph/label";
import { layOut, type Rect, type Scene } from "../src/graph/layout";
import type { Drawing, DrawnLine } from "../src/wire/types";
import { brief, chain, drawing, summary } from "./drawings";

const NONE = new Map<string, Drawing>();
const at = (scene: Scene, key: string): Rect => scene.boxes.find((it) => it.key === key)!;
const placed = (one: Drawing, open: ReadonlyMap<string, Drawing> = NONE): Scene => layOut(prepare(one, open, estimate).graph);

function overlap(one: Rect, other: Rect): boolean {
  return one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;
}

function contains(outer: Rect, inner: Rect): boolean {
  return inner.x >= outer.x && inner.y >= outer.y && inner.x + inner.width <= outer.x + outer.width && inner.y + inner.height <= outer.y + outer.height;
}

/** What holds for every layout. */
function check(one: Drawing, scene: Scene): void {
  assert.deepEqual(new Set(scene.boxes.map((it) => it.key)), new Set(one.boxes.map((it) => it.key)));
  assert.deepEqual(new Set(scene.blocks.map((it) => it.key)), new Set(one.blocks.map((it) => it.key)));
  assert.equal(scene.lines.length, one.lines.length);
  const numbers = [...scene.boxes, ...scene.blocks].flatMap((it) => [it.x, it.y, it.width, it.height]);
  assert.ok([...numbers, scene.width, scene.height].every(Number.isFinite));
  for (const it of scene.lines) assert.doesNotMatch(it.path, /NaN|undefined|Infinity|e/);
  for (const it of [...scene.boxes, ...scene.blocks]) {
    assert.ok(it.x >= -0.1 && it.y >= -0.1 && it.x + it.width <= scene.width + 0.2 && it.y + it.height <= scene.height + 0.2, `${it.key} is in the picture`);
  }
  scene.boxes.forEach((box, number) => {
    for (const other of scene.boxes.slice(number + 1)) assert.ok(!overlap(box, other), `${box.key} and ${other.key} are apart`);
  });
  const parents = new Map(one.blocks.map((it) => [it.key, it.parent]));
  const blocks = new Map(scene.blocks.map((it) => [it.key, it]));
  for (const box of one.boxes) {
    const around = new Set<string>();
    for (let block = box.block; block !== null; block = parents.get(block) ?? null) around.add(block);
    for (const [key, block] of blocks) {
      const rect = at(scene, box.key), ends = ["opener", "choice", "point"].includes(box.shape) && box.block === key;
      if (ends) assert.ok(overlap(block, rect), `${box.key} is on the border of ${key}`);
      else if (around.has(key)) assert.ok(contains(block, rect) || ["opener", "choice", "point"].includes(box.shape), `${box.key} is in ${key}`);
      else assert.ok(!overlap(block, rect), `${box.key} is not in ${key}`);
    }
  }
}

test("a flow with all kinds of blocks has its boxes apart, and blocks around what is in them", () => {
  check(brief, placed(brief));
  check(summary, placed(summary));
});

test("steps of a chain are right below each other", () => {
  const scene = placed(chain(5));
  const middles = scene.boxes.map((it) => it.x + it.width / 2);
  assert.ok(middles.every((it) => Math.abs(it - middles[0]!) < 0.2));
  assert.deepEqual(scene.boxes.map((it) => it.y), scene.boxes.map((it) => it.y).sort((one, other) => one - other));
  assert.ok(scene.lines.every((it) => /^M[-\d. ]+L[-\d. ]+$/.test(it.path) && it.turn === 90));
});

test("boxes are in reading order: from above, those of a block together", () => {
  const names = placed(brief).boxes.map((it) => brief.boxes.find((box) => box.key === it.key)!.lines[0] ?? "");
  assert.equal(names[0], "start");
  assert.ok(names.indexOf("plan") < names.indexOf("search"));
  assert.ok(names.indexOf("write") < names.indexOf("publish"));
  const inside = placed(brief).boxes.map((it) => brief.boxes.find((box) => box.key === it.key)!.block === "b2");
  assert.equal(inside.lastIndexOf(true) - inside.indexOf(true) + 1, inside.filter(Boolean).length);
});

test("a line that goes back arrives from the side or from below, and the rest of the graph keeps its order", () => {
  const one = drawing(["start", "a", "b", "c"], [[0, 1], [1, 2], [2, 3], [3, 1, "again"]]);
  const scene = placed(one);
  check(one, scene);
  const back = scene.lines.find((it) => it.key === "3")!;
  assert.notEqual(back.turn, 90);
  assert.ok(back.label !== null);
  assert.ok(at(scene, "n1").y < at(scene, "n2").y && at(scene, "n2").y < at(scene, "n3").y);
});

test("a line from a box to itself is at its side, and what stands beside it is not under it", () => {
  const one = drawing(["start", "a", "b"], [[0, 1], [0, 2], [1, 1, "improve"]]);
  const scene = placed(one);
  check(one, scene);
  const loop = scene.lines.find((it) => it.key === "2")!;
  assert.equal(loop.turn, 180);
  assert.ok(loop.label!.x > at(scene, "n1").x + at(scene, "n1").width);
  assert.ok(loop.label!.x < at(scene, "n2").x || at(scene, "n2").x < at(scene, "n1").x);
});

test("a signal out of a block leaves it at its lower edge", () => {
  const scene = placed(brief);
  const number = brief.lines.findIndex((it) => it.label === "found"), line = scene.lines.find((it) => it.key === String(number))!;
  assert.equal(line.turn, 90);
  const block = scene.blocks.find((it) => it.key === "b0")!;
  assert.ok(line.tip.y > block.y + block.height);
});

test("a sub-flow opens in its place: its boxes are in it, and all else keeps its order", () => {
  const box = brief.boxes.find((it) => it.flow === "summary")!;
  const open = new Map([[box.key, summary]]), scene = placed(brief, open), frame = at(scene, box.key);
  const inner = scene.boxes.filter((it) => it.key.startsWith(`${box.key}/`));
  assert.equal(inner.length, summary.boxes.length);
  for (const it of inner) assert.ok(contains(frame, it));
  assert.equal(scene.boxes.findIndex((it) => it.key === box.key) + 1, scene.boxes.findIndex((it) => it.key.startsWith(`${box.key}/`)));
  assert.equal(scene.lines.length, brief.lines.length + summary.lines.length);
  const order = (it: Scene): string[] => it.boxes.map((one) => one.key).filter((key) => !key.includes("/"));
  assert.deepEqual(order(scene), order(placed(brief)));
});

test("what no server sends is drawn as far as it goes: unknown boxes, blocks in themselves, two heads, no boxes", () => {
  const odd = drawing(["start", "a"], [[0, 1]]);
  odd.lines.push({ source: "n9", target: "n1", label: "", style: "solid", operators: [] });
  odd.boxes[1]!.block = "nowhere";
  assert.equal(placed(odd).lines.length, 1);
  const loop = drawing(["start", "a", "b"], [[0, 1], [1, 2]]);
  loop.blocks.push({ key: "b0", parent: "b0", operator: "" });
  assert.ok(placed(loop).boxes.length >= 3);
  assert.deepEqual(placed(drawing([], [])), { width: 0, height: 0, boxes: [], blocks: [], lines: [] });
});

test("the same drawing has the same layout", () => {
  assert.deepEqual(placed(brief), placed(structuredClone(brief)));
});

test("a drawing may say the same thing twice", () => {
  const line: DrawnLine = { source: "n0", target: "n1", label: "", style: "solid", operators: [] };
  const one = drawing(["start", "a"], []);
  one.lines.push(line, { ...line, style: "emit", label: "x" }, { ...line, style: "side" });
  const scene = placed(one);
  check(one, scene);
  assert.equal(new Set(scene.lines.map((it) => it.path)).size, 3);
});

test("parts that no line joins stand beside each other in the order of the drawing", () => {
  const one = drawing(["start", "a", "b", "c", "d"], [[0, 1], [2, 3], [2, 4], [3, 3, "again"]]);
  const scene = placed(one);
  check(one, scene);
  assert.ok(at(scene, "n1").x + at(scene, "n1").width < Math.min(at(scene, "n3").x, at(scene, "n4").x));
});

test("of a fork, what is named first is on the left", () => {
  const scene = placed(drawing(["start", "a", "b", "c", "end"], [[0, 1], [0, 2], [0, 3], [1, 4], [2, 4], [3, 4]]));
  assert.ok(at(scene, "n1").x < at(scene, "n2").x && at(scene, "n2").x < at(scene, "n3").x);
});
