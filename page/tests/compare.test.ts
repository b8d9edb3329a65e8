import assert from "node:assert/strict";
import { test } from "node:test";
import { order } from "../src/compare/kin";
import { did, differing, verdict, type Words } from "../src/compare/words";
import { same as equal } from "../src/wire/json";
import type { DifferenceInfo, ExecutionInfo, Frame } from "../src/wire/types";

const plain = (words: Words): string => words.map((it) => (typeof it === "string" ? it : it.name)).join("");

const same: DifferenceInfo = {
  ids: ["a", "b"], same: true, frames: [22, 22], parted: null, status: ["completed", "completed"], result: null, chunks: {}, state: {},
  stream: null, items: [0, 0],
};
const frame = (kind: string, more: Partial<Frame> = {}): Frame => ({ number: 15, at: 0, kind, status: "running", ...more });

test("where two executions part is one sentence", () => {
  assert.equal(plain(verdict(same, [null, null])), "Both are the same, in all 22 frames.");
  const parted = { number: 15, kinds: ["completed", "failed"] as [string, string], records: [{ run: 3 }, { run: 3 }] as never };
  const runs = [{ run: 3, phase: "ended", operator: "o", chunk: "draft" }] as never;
  const frames = [frame("completed", { record: { run: 3 }, runs }), frame("failed", { record: { run: 3 }, runs, status: "failed" })] as const;
  assert.equal(
    plain(verdict({ ...same, same: false, parted }, frames)),
    "The same up to frame 14; then one has completed draft, the other has failed in draft, and failed with it.",
  );
  const both = { ...parted, kinds: ["state", "state"] as [string, string] };
  const set = frame("state", { record: { key: "topic", op: "set" } });
  assert.equal(plain(verdict({ ...same, same: false, parted: both }, [set, set])),
    "The same up to frame 14; then both have set the state key topic, with different values.");
  const ended = { number: 1, kinds: ["started", null] as [string, null], records: [{}, null] as never };
  assert.equal(plain(verdict({ ...same, same: false, parted: ended, status: ["completed", "created"] }, [frame("started"), null])),
    "They differ from the first frame on: one has started, the other has no more frames (it is not started).");
});

test("a kind that is not known yet is named", () => {
  assert.equal(plain(did(frame("some_thing"))), "recorded some thing");
});

test("only the outcomes that differ are shown", () => {
  assert.deepEqual(differing([[1, { a: 1, b: 2 }, 3], [1, { b: 2, a: 1 }]], 10), { places: [2], more: 0 });
  assert.deepEqual(differing([[1, 2, 3], [0, 0, 0]], 2), { places: [0, 1], more: 1 });
  assert.ok(!equal([], {}) && !equal(null, {}) && equal([1, [2]], [1, [2]]));
});

test("the nearest kin come first", () => {
  const info = (id: string, from: string | null = null): ExecutionInfo =>
    ({ id, forked_from: from === null ? null : [from, 3] }) as unknown as ExecutionInfo;
  const found = order(info("me", "origin"), [info("x"), info("sibling", "origin"), info("me", "origin"), info("fork", "me")], info("origin"));
  assert.deepEqual(found.map((it) => [it.info.id, it.kin]), [["origin", "origin"], ["fork", "fork"], ["sibling", "sibling"], ["x", ""]]);
});
