import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, duration } from "../src/app/time";

test("durations have two units at most", () => {
  const expected: [number, string][] = [
    [0, "0 ms"], [-1, "0 ms"], [0.0001, "1 ms"], [0.85, "850 ms"], [0.9996, "1.0 s"], [12.44, "12.4 s"], [59.96, "1 min"], [200, "3 min 20 s"],
    [3599.6, "1 h"], [7500, "2 h 5 min"], [86_399, "1 d"], [273_600, "3 d 4 h"], [NaN, "0 ms"],
  ];
  for (const [seconds, words] of expected) assert.equal(duration(seconds), words, String(seconds));
});

test("ages are coarse", () => {
  assert.equal(ago(100, 101), "just now");
  assert.equal(ago(100, 130), "30 s ago");
  assert.equal(ago(0, 7300), "2 h ago");
  assert.equal(ago(100, 40), "in 1 min");
});
