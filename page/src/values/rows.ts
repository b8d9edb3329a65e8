/** Where rows of unequal height are: estimated until they were measured. */

export class Heights<K> {
  private readonly measured = new Map<K, number>();
  /** The top of each row, and the end of the last one. */
  private tops = new Float64Array(1);
  private count = 0;
  private keys: readonly K[] = [];

  /** The rows, in order. `estimate` is asked for those that were never measured. */
  set(keys: readonly K[], estimate: (at: number) => number): void {
    if (this.tops.length < keys.length + 1) this.tops = new Float64Array(Math.max(keys.length + 1, this.tops.length * 2));
    let top = 0;
    for (let at = 0; at < keys.length; at++) {
      this.tops[at] = top;
      top += this.measured.get(keys[at]!) ?? estimate(at);
    }
    this.tops[keys.length] = top;
    this.count = keys.length;
    this.keys = keys;
  }

  /** Whether a measured height is another one than before. The tops change with the next `set`. */
  measure(key: K, height: number): boolean {
    const before = this.measured.get(key);
    if (before !== undefined && Math.abs(before - height) < 0.5) return false;
    this.measured.set(key, height);
    return true;
  }

  forget(): void {
    this.measured.clear();
  }

  get total(): number {
    return this.tops[this.count]!;
  }

  top(at: number): number {
    return this.tops[Math.min(at, this.count)]!;
  }

  /** The row at so many pixels; the last one below the end, 0 if there is none. */
  at(pixels: number): number {
    let low = 0, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1]! <= pixels) low = middle + 1;
      else high = middle;
    }
    return Math.max(Math.min(low, this.count - 1), 0);
  }

  /** The place of a key that was at `near` before; -1 if it is gone. */
  find(key: K, near: number): number {
    if (this.keys[near] === key) return near;
    return this.keys.indexOf(key);
  }
}
