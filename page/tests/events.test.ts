import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder, type ServerEvent } from "../src/wire/events";

const STREAM = 'event: changes\nid: 3:c1\ndata: {"a":"ä€😀"}\n\n:\n\nid: 4:c1\n\nretry: 200\nevent: frame\r\nid: 4\r\ndata: 1\r\ndata:2\r\n\r\ndata: x\n\n';

function decoded(pieces: string[]): { events: ServerEvent[]; decoder: Decoder } {
  const decoder = new Decoder();
  return { events: pieces.flatMap((piece) => decoder.feed(piece)), decoder };
}

test("events are the same wherever the stream was cut", () => {
  const whole = decoded([STREAM]).events;
  assert.deepEqual(whole, [
    { event: "changes", data: '{"a":"ä€😀"}', id: "3:c1" },
    { event: "frame", data: "1\n2", id: "4" },
    { event: "message", data: "x", id: "4" },
  ]);
  for (let at = 0; at <= STREAM.length; at++) assert.deepEqual(decoded([STREAM.slice(0, at), STREAM.slice(at)]).events, whole);
  assert.deepEqual(decoded([...STREAM]).events, whole);
});

test("an id without data is that of the newest event", () => {
  const { events, decoder } = decoded(["event: frame\nid: 7\ndata: {}\n\n", "id: 7:cursor\n\n"]);
  assert.equal(events.length, 1);
  assert.equal(decoder.id, "7:cursor");
});

test("an id counts when its event is whole: what is cut behind it comes again", () => {
  const decoder = new Decoder();
  decoder.feed("event: frame\nid: 7\ndata: {}\n\nevent: frame\nid: 8\nda");
  assert.equal(decoder.id, "7");
  assert.deepEqual(decoder.feed("ta: {}\n\n"), [{ event: "frame", data: "{}", id: "8" }]);
  assert.equal(decoder.id, "8");
});

test("half an event is none, and comments and strange fields are skipped", () => {
  assert.deepEqual(decoded(["data: half"]).events, []);
  assert.deepEqual(decoded([": ping\n\nwhat: x\nevent\ndata\n\n"]).events, [{ event: "message", data: "", id: "" }]);
});

test("the server may say when to come back", () => {
  assert.equal(decoded(["retry: 200\n"]).decoder.retry, 200);
  assert.equal(decoded(["retry: soon\n"]).decoder.retry, null);
});

test("many events in one piece take no time that grows with their square", () => {
  const begin = performance.now();
  const { events } = decoded(["event: frame\nid: 1\ndata: {\"number\":1}\n\n".repeat(100_000)]);
  assert.equal(events.length, 100_000);
  assert.ok(performance.now() - begin < 2000);
});
