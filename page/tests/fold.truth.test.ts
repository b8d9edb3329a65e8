/** Folds the frames that tests/server/test_page_fold.py has written, and compares every moment with what it says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Fold } from "../src/model/fold";
import type { Moment } from "../src/model/track";
import type { Frame } from "../src/wire/types";

interface Truth { id: string; scenario: string; frames: Frame[]; moments: Record<string, unknown>[] }

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
    for (const [place, expected] of truth.moments.entries()) {
      const number = truth.frames[place]!.number;
      grown.add(truth.frames.slice(0, place + 1));
      for (const moment of [track.at(number), grown.at(number)]) {
        assert.deepEqual(shown(moment), expected);
        checkParts(moment, truth.frames[place]!.at);
      }
    }
  });
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
