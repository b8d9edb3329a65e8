/** Folds the frames that tests/server/test_page_fold.py has written, and compares every moment with what it says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Fold } from "../src/model/fold";
import type { Moment, OperatorState } from "../src/model/track";
import { Steps } from "../src/model/steps";
import type { Drawing, Frame } from "../src/wire/types";

interface Truth {
  id: string; scenario: string; frames: Frame[]; moments: Record<string, unknown>[]; drawings: Drawing[];
  /** For each moment, by box: state, how many have ended, of how many, whether that is exact, how many have failed. */
  boxes: Record<string, unknown[]>[];
}

/** What a moment has to be, in the shape of `expected` in the Python test. */
function shown(moment: Moment): Record<string, unknown> {
  const open = [...moment.runs.values()].filter((it) => it.phase !== "ended");
  return {
    number: moment.number, recorded: moment.recorded, status: moment.status, started: moment.started,
    input: moment.input ?? null, definition: moment.definition, state: [...moment.state], items: moment.items,
    runs: open.map((it) => [it.id, it.operator, it.chunk, it.phase, it.attempt, it.losses, it.cause, it.subFlow]).sort(byFirst),
    questions: [...moment.questions.values()].map((it) => [it.id, it.type, it.chunk, it.payload, it.inside, it.since]).sort(byFirst),
    result: moment.hasResult ? [moment.result] : null, error: moment.error && [moment.error.type, moment.error.message],
    reason: moment.recorded === "cancelled" ? moment.reason : "",
  };
}

function byFirst(one: unknown[], other: unknown[]): number {
  return one[0]! < other[0]! ? -1 : 1;
}

const file = process.env.FOLD_TRUTH;
for (const truth of file ? (JSON.parse(readFileSync(file, "utf8")) as Truth[]) : []) {
  test(`${truth.scenario}: ${truth.id}`, () => {
    const track = new Fold(truth.id), grown = new Fold(truth.id);
    track.add(truth.frames);
    // after a move the terminal knows what has run by the former drawing
    const drawing = truth.drawings.length === 1 ? truth.drawings[0]! : null;
    const steps = drawing && new Steps(track, drawing), growing = drawing && new Steps(grown, drawing);
    for (const [place, expected] of truth.moments.entries()) {
      const number = truth.frames[place]!.number;
      grown.add(truth.frames.slice(0, place + 1));
      for (const moment of [track.at(number), grown.at(number)]) {
        assert.deepEqual(shown(moment), expected);
        checkParts(moment, truth.frames[place]!.at);
      }
      if (drawing === null) continue;
      const boxes = boxesAt(steps!, drawing, track.at(number)), known = truth.boxes[place]!;
      assert.deepEqual(boxes, Object.fromEntries(Object.keys(boxes).map((it) => [it, known[it]])), `at moment ${number}`);
      assert.deepEqual(growing!.at(grown.at(number)), steps!.at(track.at(number)));
    }
  });
}

function boxesAt(steps: Steps, drawing: Drawing, moment: Moment): Record<string, unknown[]> {
  const found: Record<string, unknown[]> = {}, states = steps.at(moment);
  for (const box of drawing.boxes) {
    const [operator] = box.operators;
    if (operator === undefined || !steps.hasBox(operator)) continue;
    const it: OperatorState = states.get(operator) ?? { state: "idle", ended: 0, total: 0, failed: 0, cancelled: 0, last: 0 };
    found[box.key] = [it.state, it.ended, it.total, !it.more, it.failed];
  }
  return found;
}

/** What holds for any moment: counts add up, and the parts of a run follow each other without a hole. */
function checkParts(moment: Moment, at: number): void {
  let total = 0;
  for (const counts of moment.operators.values()) {
    total += counts.total;
    assert.ok(counts.ended <= counts.total && counts.failed + counts.cancelled <= counts.ended);
  }
  assert.equal(total, moment.runs.size);
  let before = 0;
  for (const run of moment.runs.values()) {
    assert.ok(run.began >= before, "in the order in which they began");
    before = run.began;
    for (const [place, part] of run.segments.entries()) {
      const next = run.segments[place + 1];
      if (next !== undefined && !["done", "failed", "cancelled"].includes(part.mark)) assert.equal(part.end, next.start);
      assert.ok(part.start <= (part.end ?? at) + 1e-6);
    }
    assert.equal(run.segments.at(-1)!.end === null, run.ended === null);
    assert.equal(run.questions.every((it) => moment.questions.has(it)), true);
  }
}
