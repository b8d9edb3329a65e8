import assert from "node:assert/strict";
import { test } from "node:test";
import { get, HttpError, isAbort, now, onForget, path, signIn, signOut } from "../src/wire/http";

test("what was asked for with another token is forgotten", async (t) => {
  let forgotten = 0;
  const end = onForget(() => void (forgotten += 1));
  let answer: (found: Response) => void = () => undefined;
  t.mock.method(globalThis, "fetch", () => new Promise<Response>((resolve) => void (answer = resolve)));
  signIn("one");
  assert.equal(forgotten, 1);
  const old = get("access");
  signIn("one"); // the same one: nothing is lost
  assert.equal(forgotten, 1);
  signIn("two");
  answer(new Response("{}"));
  await assert.rejects(old, isAbort);
  const refused = get("access");
  signOut();
  answer(new Response("{}", { status: 401 }));
  await assert.rejects(refused, isAbort);
  assert.equal(forgotten, 3);
  const now = get("access");
  answer(new Response("{}"));
  assert.deepEqual(await now, {});
  end();
});

test("a name that leads away from its address is refused", async (t) => {
  const fetched = t.mock.method(globalThis, "fetch", async () => new Response("{}"));
  for (const id of [".", ".."]) {
    await assert.rejects(get(path("executions", id, "frames")), (it) => it instanceof HttpError && it.problem.code === "no_address");
    await assert.rejects(get(path("executions", id)), HttpError);
  }
  assert.equal(fetched.mock.callCount(), 0);
  await get(path("executions", "..a", "frames"));
  assert.equal(fetched.mock.callCount(), 1);
});

test("the time is that of the server", async (t) => {
  const at = (late: number) => new Response("{}", { headers: { Date: new Date(Date.now() + late).toUTCString() } });
  const fetched = t.mock.method(globalThis, "fetch", async () => at(3_600_000));
  const ahead = (): number => Math.round((now() - Date.now() / 1000) / 10) * 10 + 0;
  await get("access");
  assert.equal(ahead(), 3600);
  fetched.mock.mockImplementation(async () => new Response("{}"));
  await get("access");
  assert.equal(ahead(), 3600);
  fetched.mock.mockImplementation(async () => at(0));
  await get("access");
  assert.equal(ahead(), 0);
});
