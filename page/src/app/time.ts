/** Times and durations as words. */

/** "850 ms", "12.4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds: number): string {
  if (!(seconds > 0)) return "0 ms";
  if (seconds < 0.9995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pair = (big: number, one: string, small: number, two: string): string => (small === 0 ? `${big} ${one}` : `${big} ${one} ${small} ${two}`);
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(seconds / 3600);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

/** "just now", "5 min ago", "3 h ago", "2 d ago". */
export function ago(at: number, now: number): string {
  const passed = now - at; // the clock of the page goes in seconds: what is new may seem to come
  if (passed < -1.5) return `in ${coarse(-passed)}`;
  return passed < 5 ? "just now" : `${coarse(passed)} ago`;
}

function coarse(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** The whole time of day, for titles. */
export function exact(at: number): string {
  return new Date(at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
}

/** The time of day, with the day if that is not today. */
export function clock(at: number, now: number): string {
  const then = new Date(at * 1000);
  const time = then.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  if (then.toDateString() === new Date(now * 1000).toDateString()) return time;
  return `${then.toLocaleDateString(undefined, { month: "short", day: "numeric" })} ${time}`;
}
