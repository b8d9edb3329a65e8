/**
 * Where everything of a drawing goes. Each block is laid out by itself with dagre, and is then one box of the block around
 * it: that is fast, and keeps together what belongs together. The same code runs in the worker and, without one, in the page.
 *
 * A line that leaves or enters a block goes through a gate on its border, which takes part in the layout inside and outside.
 * A line that goes back leaves and enters its boxes at the side.
 */
import { Graph, layout as dagre } from "@dagrejs/dagre";

export interface BoxIn {
  key: string;
  width: number; height: number;
  block: string | null;
  /** The head of a block sits on the upper edge of it, the tail on the lower one. */
  role: "" | "head" | "tail";
  /** What is drawn inside of it, below its head of this height. */
  inside?: { head: number; graph: GraphIn };
}
export interface BlockIn { key: string; parent: string | null }
/** The size is that of the label; 0 without one. The more weight, the rather it is straight. */
export interface LineIn { source: string; target: string; width: number; height: number; weight: number }
export interface GraphIn { boxes: BoxIn[]; blocks: BlockIn[]; lines: LineIn[] }

/** A rectangle by its upper left corner. Keys of what is inside of box n3 begin with "n3/". */
export interface Rect { key: string; x: number; y: number; width: number; height: number }
export interface LineOut {
  key: string;
  /** The path as SVG has it, and where it ends: the tip of the arrow, and which way that points, in degrees. */
  path: string;
  tip: Point;
  turn: number;
  /** The middle of its label. */
  label: Point | null;
}
/** Boxes are in reading order. A box comes before what is inside of it. */
export interface Scene { width: number; height: number; boxes: Rect[]; blocks: Rect[]; lines: LineOut[] }
export interface Point { x: number; y: number }

const BETWEEN = 38, RANKS = 46, PAD = 18, FRAME = 14, ROUND = 9, LOOP = 24;
/** A block is made wider by so much at most to have its head in the middle, so that lines to it are straight. */
const EVEN = 160;

/** A box or block inside of a block. Its layout knows its place by the middle of it. */
interface Unit {
  key: string;
  box?: BoxIn;
  level?: Level;
  /** From the point that is put in line with its neighbours to each side, and its height. */
  left: number; right: number; height: number;
  x: number; top: number;
  /** The upper and lower edge of its rank: what is beside it may be taller. */
  above: number; below: number;
}
interface Edge { line: number; from: Unit; to: Unit; back: boolean }
interface Level {
  block: string | null;
  units: Unit[];
  edges: Edge[];
  head: Unit | null; tail: Unit | null;
  /** Gates on the border, by line: those of lines that enter, and of those that leave. */
  entering: Map<number, Unit>; leaving: Map<number, Unit>;
  /** Relative to the level's own origin. */
  bounds: { left: number; top: number; right: number; bottom: number };
  /** The ways of its lines between the units, without their ends. */
  ways: Map<number, Way>;
}
interface Way { points: Point[]; label: Point | null; loop?: number }

export function layOut(graph: GraphIn): Scene {
  const scene = new Layout(graph).scene();
  let left = 0, top = 0, right = 0, bottom = 0;
  for (const it of [...scene.boxes, ...scene.blocks]) {
    left = Math.min(left, it.x);
    top = Math.min(top, it.y);
    right = Math.max(right, it.x + it.width);
    bottom = Math.max(bottom, it.y + it.height);
  }
  return { ...scene, width: round(Math.max(right, scene.width)), height: round(Math.max(bottom, scene.height)) };
}

class Layout {
  private readonly levels = new Map<string | null, Level>();
  private readonly units = new Map<string, Unit>();
  /** For each box: the blocks around it, the innermost first; null for the whole is the last. */
  private readonly around = new Map<string, (string | null)[]>();
  private readonly inner = new Map<string, Scene>();

  constructor(private readonly graph: GraphIn) {
    const parents = new Map(graph.blocks.map((it) => [it.key, it.parent]));
    this.level(null);
    for (const { key } of graph.blocks) this.level(key);
    for (const { key, parent } of graph.blocks) {
      const unit: Unit = { key, level: this.level(key), left: 0, right: 0, height: 0, x: 0, top: 0, above: 0, below: 0 };
      this.units.set(key, unit);
      this.level(parent !== null && parents.has(parent) ? parent : null).units.push(unit);
    }
    for (const box of graph.boxes) {
      const block = box.block !== null && parents.has(box.block) ? box.block : null;
      const chain: (string | null)[] = [];
      for (let at: string | null = block; at !== null && !chain.includes(at); at = parents.get(at) ?? null) chain.push(at);
      this.around.set(box.key, [...chain, null]);
      const unit = this.unitOf(box);
      this.units.set(box.key, unit);
      const level = this.level(block);
      level.units.push(unit);
      if (block !== null && box.role === "head") level.head ??= unit;
      if (block !== null && box.role === "tail") level.tail ??= unit;
    }
    // in the order of the drawing, blocks where their first box is
    const order = new Map(graph.boxes.map((it, place) => [it.key, place]));
    const first = (unit: Unit): number => (unit.level ? Math.min(...unit.level.units.map(first), Infinity) : order.get(unit.key)!);
    for (const level of this.levels.values()) level.units.sort((one, other) => first(one) - first(other));
    this.join();
  }

  private level(block: string | null): Level {
    let level = this.levels.get(block);
    if (level === undefined) {
      const bounds = { left: 0, top: 0, right: 0, bottom: 0 };
      level = { block, units: [], edges: [], head: null, tail: null, entering: new Map(), leaving: new Map(), bounds, ways: new Map() };
      this.levels.set(block, level);
    }
    return level;
  }

  private unitOf(box: BoxIn): Unit {
    let { width, height } = box, left = width / 2, right = width / 2;
    if (box.inside) {
      const scene = layOut(box.inside.graph);
      this.inner.set(box.key, scene);
      left = right = Math.max(width, scene.width + 2 * FRAME) / 2;
      width = left + right;
      height = box.inside.head + scene.height + 2 * FRAME;
    }
    return { key: box.key, box, left, right, height, x: 0, top: 0, above: 0, below: 0 };
  }

  /** Which units each line joins in which level, and which gates it goes through. */
  private join(): void {
    this.graph.lines.forEach((line, number) => {
      const from = this.around.get(line.source), to = this.around.get(line.target);
      if (from === undefined || to === undefined) return;
      const common = from.find((it) => to.includes(it)) ?? null;
      this.level(common).edges.push({ line: number, from: this.within(line.source, from, common), to: this.within(line.target, to, common), back: false });
    });
    for (const level of this.levels.values()) markBack(level);
    const edges = [...this.levels.values()].flatMap((level) => level.edges.map((edge) => ({ level, edge })));
    for (const { level, edge } of edges) {
      const { source, target } = this.graph.lines[edge.line]!;
      if (edge.back || edge.from === edge.to) continue;
      for (const block of inside(this.around.get(source)!, level.block)) {
        const inner = this.level(block);
        if (inner.tail?.key !== source) this.gate(inner, edge.line, inner.leaving, this.within(source, this.around.get(source)!, block), true);
      }
      for (const block of inside(this.around.get(target)!, level.block)) {
        const inner = this.level(block);
        if (inner.head?.key !== target) this.gate(inner, edge.line, inner.entering, this.within(target, this.around.get(target)!, block), false);
      }
    }
  }

  private gate(level: Level, line: number, gates: Map<number, Unit>, unit: Unit, out: boolean): void {
    const gate: Unit = { key: `${out ? ">" : "<"}${line}`, left: 0.5, right: 0.5, height: 1, x: 0, top: 0, above: 0, below: 0 };
    gates.set(line, gate);
    level.units.push(gate);
    level.edges.push(out ? { line, from: unit, to: gate, back: false } : { line, from: gate, to: unit, back: false });
  }

  /** The unit of a level in which a box is. */
  private within(box: string, around: readonly (string | null)[], level: string | null): Unit {
    const at = around.indexOf(level);
    return this.units.get(at === 0 ? box : around[at - 1]!)!;
  }

  scene(): Scene {
    const root = this.level(null);
    this.place(root);
    const scene: Scene = { width: 0, height: 0, boxes: [], blocks: [], lines: [] };
    const { bounds } = root;
    this.move(root, -bounds.left, -bounds.top);
    scene.width = bounds.right - bounds.left;
    scene.height = bounds.bottom - bounds.top;
    this.collect(root, scene);
    for (const [key, it] of this.inner) {
      const unit = this.units.get(key)!, { head } = unit.box!.inside!;
      const dx = round(unit.x - it.width / 2), dy = round(unit.top + head + FRAME), at = (rect: Rect): Rect => (
        { ...rect, key: `${key}/${rect.key}`, x: rect.x + dx, y: rect.y + dy }
      );
      const place = scene.boxes.findIndex((box) => box.key === key) + 1;
      scene.boxes.splice(place, 0, ...it.boxes.map(at));
      scene.blocks.push(...it.blocks.map(at));
      for (const line of it.lines) scene.lines.push(moved(line, key, dx, dy));
    }
    return scene;
  }

  // -- one level ---------------------------------------------------------------------------------------------------------

  private place(level: Level): void {
    for (const unit of level.units) if (unit.level) {
      this.place(unit.level);
      this.measure(unit, unit.level);
    }
    const graph = new Graph<object, { width: number; height: number; x?: number; y?: number }, DagreEdge>({ multigraph: true });
    graph.setGraph({ rankdir: "TB", nodesep: BETWEEN, ranksep: RANKS, edgesep: 18, ranker: level.units.length > 150 ? "tight-tree" : "network-simplex" });
    graph.setDefaultEdgeLabel(() => ({}));
    // the other way round: of orders that are equally good dagre takes the one that is most unlike the first
    for (const unit of level.units.toReversed()) graph.setNode(unit.key, { width: 2 * Math.max(unit.left, unit.right), height: unit.height });
    for (const { line, from, to, back } of level.edges.toReversed()) {
      const { width, height } = this.graph.lines[line]!, gate = level.leaving.get(line) === to || level.entering.get(line) === from;
      const label = gate ? { width: 0, height: 0 } : { width: width ? width + 8 : 0, height };
      if (from === to) graph.setEdge(from.key, to.key, { width: width + LOOP, height: 0, labelpos: "c" }, String(line));
      else if (back) graph.setEdge(to.key, from.key, { ...label, width: label.width || 12, labelpos: "c", weight: 1 }, String(line));
      else graph.setEdge(from.key, to.key, { ...label, labelpos: "c", weight: 2 }, String(line));
    }
    this.keepEnds(level, graph);
    dagre(graph, { disableOptimalOrderHeuristic: level.units.length > 400 });
    const ranks = new Map<number, number>();
    for (const unit of level.units) {
      const node = graph.node(unit.key)!, y = Math.round(node.y!);
      unit.x = node.x!;
      unit.top = node.y! - unit.height / 2;
      ranks.set(y, Math.max(ranks.get(y) ?? 0, unit.height));
    }
    this.straighten(level, graph, ranks);
    if (level.block === null) this.sideBySide(level, graph);
    this.align(level, ranks);
    for (const edge of level.edges) level.ways.set(edge.line, this.way(level, edge, graph, ranks));
    level.bounds = this.boundsOf(level);
  }

  /** The head of a block is above all that is in it, the tail below, and gates are beside them. */
  private keepEnds(level: Level, graph: Graph<any, any, any>): void {
    const { head, tail } = level, gates = new Set([...level.entering.values(), ...level.leaving.values()]);
    const ordinary = level.units.filter((it) => it !== head && it !== tail && !gates.has(it));
    const entered = new Set<Unit>(), left = new Set<Unit>();
    for (const { from, to, back } of level.edges) if (from !== to && !gates.has(from) && !gates.has(to)) {
      const [upper, lower] = back ? [to, from] : [from, to];
      if (upper !== head) entered.add(lower);
      if (lower !== tail) left.add(upper);
    }
    const first = ordinary.filter((it) => !entered.has(it)), last = ordinary.filter((it) => !left.has(it));
    // a little weight: dagre divides by it
    const hidden = { width: 0, height: 0, weight: 0.01, minlen: 1 };
    const above = [...(head ? [head] : []), ...level.entering.values()], below = [...(tail ? [tail] : []), ...level.leaving.values()];
    // many gates are rare, and then they are where they are
    if (above.length * first.length < 400) for (const one of above) for (const other of first) graph.setEdge(one.key, other.key, hidden, "^");
    if (below.length * last.length < 400) for (const one of below) for (const other of last) graph.setEdge(other.key, one.key, hidden, "_");
    if (ordinary.length === 0) for (const one of above) for (const other of below) graph.setEdge(one.key, other.key, hidden, "|");
  }

  /** In a rank with something tall, steps are right below those before them, and beginnings right above those after them. */
  private align(level: Level, ranks: ReadonlyMap<number, number>): void {
    const entered = new Set(level.edges.map((it) => (it.back ? it.from : it.to)));
    for (const unit of level.units) {
      const middle = unit.top + unit.height / 2, rank = ranks.get(Math.round(middle)) ?? 0, spare = rank - unit.height;
      [unit.above, unit.below] = [middle - rank / 2, middle + rank / 2];
      if (spare > 1 && unit.height > 1) unit.top += entered.has(unit) ? -spare / 2 : spare / 2;
    }
  }

  /**
   * Dagre gives the order in each rank. Here all move sideways in that order until the lines that matter most are straight:
   * down and up again, each rank goes where the one before wants it, as far as there is room.
   */
  private straighten(level: Level, graph: Graph<any, any, any>, ranks: ReadonlyMap<number, number>): void {
    const rows = new Map<number, Item[]>(), items = new Map<Unit, Item>();
    const put = (item: Item, y: number): Item => {
      const key = Math.round(y), row = rows.get(key);
      if (row === undefined) rows.set(key, [item]);
      else row.push(item);
      return item;
    };
    const make = (x: number, left: number, right: number, gap: number, move: (x: number) => void): Item => (
      { x, left, right, gap, up: [], down: [], weight: 0.01, hangs: "", height: 0, rank: 0, row: [], place: 0, move }
    );
    const loops = new Map<Unit, number>();
    const entered = new Set(level.edges.map((it) => (it.back ? it.from : it.to))), left = new Set(level.edges.map((it) => (it.back ? it.to : it.from)));
    for (const { line, from, to } of level.edges) if (from === to) loops.set(from, Math.max(loops.get(from) ?? 0, this.graph.lines[line]!.width + LOOP + 10));
    for (const unit of level.units) {
      const item = make(unit.x, unit.left, unit.right + (loops.get(unit) ?? 0), BETWEEN / 2, (x) => (unit.x = x));
      items.set(unit, put(item, unit.top + unit.height / 2));
      if (unit.height > 1) Object.assign(item, { height: unit.height, rank: ranks.get(Math.round(unit.top + unit.height / 2)) ?? 0, hangs: !entered.has(unit) ? "bottom" : left.has(unit) ? "" : "top" });
    }
    const join = (upper: Item, lower: Item, weight: number): void => {
      upper.down.push({ item: lower, weight });
      lower.up.push({ item: upper, weight });
      upper.weight += weight;
      lower.weight += weight;
    };
    const labels: { item: Item; owner: Item }[] = [];
    for (const it of level.edges) {
      const { line, from, to, back } = it;
      if (from === to) continue;
      const [upper, lower] = back ? [to, from] : [from, to], edge: DagreEdge = graph.edge(upper.key, lower.key, String(line));
      const weight = back ? 0.2 : this.graph.lines[line]!.weight;
      let last = items.get(upper)!;
      for (const point of (edge.points ?? []).slice(1, -1)) {
        const labelled = edge.width && edge.x !== undefined && Math.abs(point.y - edge.y!) < 1, half = labelled ? edge.width! / 2 : 0;
        const item = put(make(point.x, half, half, 9, (x) => {
          point.x = x;
          if (labelled) edge.x = x;
        }), point.y);
        const owner = labelled && !back ? this.labelOwner(level, it) : undefined;
        if (owner !== undefined) labels.push({ item, owner: items.get(owner)! });
        join(last, item, weight);
        last = item;
      }
      join(last, items.get(lower)!, weight);
    }
    const all = [...rows].sort(([one], [other]) => one - other).map(([, row]) => row.sort((one, other) => one.x - other.x));
    for (const row of all) row.forEach((item, place) => Object.assign(item, { row, place }));
    for (let round = 0; round < 8 && all.filter(uncross).length > 0; round++);
    for (let round = 0; round < 8; round++) {
      for (const row of all.toReversed()) settle(row, (it) => it.down);
      for (const row of all) settle(row, (it) => it.up);
    }
    for (let round = 0; round < 4; round++) shiftGroups(all);
    const owners = new Map(labels.map((it) => [it.item, it.owner]));
    for (const row of all) if (row.some((it) => owners.has(it))) settle(row, (it) => [{ item: owners.get(it) ?? it, weight: 1 }]);
    for (const row of all) for (const item of row) item.move(item.x);
  }

  /** Parts that no line joins stand beside each other, in the order of the drawing. */
  private sideBySide(level: Level, graph: Graph<any, any, any>): void {
    const part = new Map<Unit, Unit>(level.units.map((it) => [it, it]));
    const find = (unit: Unit): Unit => {
      let found = unit;
      while (part.get(found) !== found) found = part.get(found)!;
      part.set(unit, found);
      return found;
    };
    for (const { from, to } of level.edges) part.set(find(from), find(to));
    const parts = new Map<Unit, { units: Unit[]; edges: DagreEdge[]; left: number; right: number }>();
    for (const unit of level.units) {
      const root = find(unit), own = parts.get(root) ?? { units: [], edges: [], left: Infinity, right: -Infinity };
      parts.set(root, own);
      own.units.push(unit);
      own.left = Math.min(own.left, unit.x - unit.left);
      own.right = Math.max(own.right, unit.x + unit.right);
    }
    if (parts.size < 2) return;
    for (const { line, from, to, back } of level.edges) {
      const own = parts.get(find(from))!, { width } = this.graph.lines[line]!;
      if (from === to) {
        own.right = Math.max(own.right, from.x + from.right + LOOP + width + 6);
        continue;
      }
      const edge: DagreEdge = back ? graph.edge(to.key, from.key, String(line)) : graph.edge(from.key, to.key, String(line));
      own.edges.push(edge);
      const inner = (edge.points ?? []).slice(1, -1).map((it) => it.x);
      const ends = width && edge.x !== undefined ? [edge.x - width / 2, edge.x + width / 2] : [];
      own.left = Math.min(own.left, ...inner, ...ends);
      own.right = Math.max(own.right, ...inner, ...ends);
    }
    let next = 0;
    for (const { units, edges, left, right } of parts.values()) {
      const by = next - left;
      for (const unit of units) unit.x += by;
      for (const edge of edges) {
        for (const point of edge.points ?? []) point.x += by;
        if (edge.x !== undefined) edge.x += by;
      }
      next += right - left + 2 * BETWEEN;
    }
  }

  private way(level: Level, { line, from, to, back }: Edge, graph: Graph<any, any, any>, ranks: ReadonlyMap<number, number>): Way {
    const edge: DagreEdge = back ? graph.edge(to.key, from.key, String(line)) : graph.edge(from.key, to.key, String(line));
    const { width } = this.graph.lines[line]!;
    if (from === to) {
      const loop = from.x + from.right + LOOP;
      return { points: [], label: width ? { x: loop + 6 + width / 2, y: from.top + from.height / 2 } : null, loop };
    }
    const gate = level.leaving.get(line) === to || level.entering.get(line) === from;
    const label = width && !gate && edge.x !== undefined ? { x: edge.x, y: edge.y! } : null;
    const same = back || level.edges.some((it) => it.line !== line && (it.from === from ? it.to === to : it.from === to && it.to === from));
    let points: Point[] = [];
    for (const point of (edge.points ?? []).slice(1, -1)) {
      const height = ranks.get(Math.round(point.y)) ?? 0;
      const labelled = label !== null && Math.abs(point.y - label.y) < 1;
      if (height > 0) points.push({ x: point.x, y: point.y - height / 2 }, { x: point.x, y: point.y + height / 2 });
      else if (labelled) points.push({ x: label.x, y: point.y - 8 }, { x: label.x, y: point.y + 8 });
      else if (same) points.push(point);
    }
    if (back && points.length === 0) points = [{ x: Math.max(from.x + from.right, to.x + to.right) + 20, y: (from.top + to.top + to.height) / 2 }];
    return { points: back ? points.reverse() : points, label };
  }

  /** A label stands right above a step to which no other line leads, or below one from which no other comes. */
  private labelOwner(level: Level, { line, from, to }: Edge): Unit | undefined {
    const { source, target } = this.graph.lines[line]!;
    const alone = (unit: Unit, box: string, end: "from" | "to"): boolean => (
      unit === this.units.get(box) && level.edges.every((it) => it.line === line || it[end] !== unit)
    );
    if (alone(to, target, "to")) return to;
    return alone(from, source, "from") ? from : undefined;
  }

  /** The size of a block from that of its inside, and which point of it is put in line with its neighbours. */
  private measure(unit: Unit, level: Level): void {
    const { left, right, top, bottom } = level.bounds;
    const axis = level.head?.x ?? level.tail?.x ?? (left + right) / 2, middle = (left + right) / 2;
    const point = Math.abs(axis - middle) * 2 <= EVEN ? axis : middle;
    unit.left = point - left;
    unit.right = right - point;
    unit.height = bottom - top;
  }

  /** What a level takes up. Of a block, the edges go through the middle of its head and of its tail. */
  private boundsOf(level: Level): Level["bounds"] {
    let left = Infinity, right = -Infinity, top = Infinity, bottom = -Infinity;
    for (const unit of level.units) {
      left = Math.min(left, unit.x - unit.left);
      right = Math.max(right, unit.x + unit.right);
      top = Math.min(top, unit.top);
      bottom = Math.max(bottom, unit.top + unit.height);
    }
    for (const [line, way] of level.ways) {
      const { width, height } = this.graph.lines[line]!;
      for (const { x, y } of way.points) {
        left = Math.min(left, x - 4);
        right = Math.max(right, x + 4);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
      if (way.loop !== undefined) right = Math.max(right, way.loop + 2);
      if (way.label) {
        left = Math.min(left, way.label.x - width / 2);
        right = Math.max(right, way.label.x + width / 2);
        top = Math.min(top, way.label.y - height / 2);
        bottom = Math.max(bottom, way.label.y + height / 2);
      }
    }
    if (left === Infinity) return { left: 0, top: 0, right: 0, bottom: 0 };
    if (level.block === null) return { left, top, right, bottom };
    return { left: left - PAD, right: right + PAD, top: level.head ? top : top - PAD, bottom: level.tail ? bottom : bottom + PAD };
  }

  // -- the whole ---------------------------------------------------------------------------------------------------------

  private move(level: Level, dx: number, dy: number): void {
    const { bounds } = level;
    level.bounds = { left: bounds.left + dx, right: bounds.right + dx, top: bounds.top + dy, bottom: bounds.bottom + dy };
    for (const way of level.ways.values()) {
      for (const point of way.label ? [...way.points, way.label] : way.points) {
        point.x += dx;
        point.y += dy;
      }
      if (way.loop !== undefined) way.loop += dx;
    }
    for (const unit of level.units) {
      unit.x += dx;
      unit.top += dy;
      unit.above += dy;
      unit.below += dy;
      if (unit.level) this.move(unit.level, unit.x - unit.left - unit.level.bounds.left, unit.top - unit.level.bounds.top);
    }
  }

  private collect(level: Level, scene: Scene): void {
    const units = level.units.filter((it) => it.box || it.level);
    units.sort((one, other) => (Math.abs(one.top - other.top) > 4 ? one.top - other.top : one.x - other.x));
    for (const unit of units) {
      if (unit.level) {
        const { left, right } = unit.level.bounds, { head, tail } = unit.level;
        const top = unit.top + (head ? head.height / 2 : 0), bottom = unit.top + unit.height - (tail ? tail.height / 2 : 0);
        scene.blocks.push({ key: unit.key, x: round(left), y: round(top), width: round(right - left), height: round(bottom - top) });
        this.collect(unit.level, scene);
      } else {
        const { x, top, left, right, height } = unit;
        scene.boxes.push({ key: unit.key, x: round(x - left), y: round(top), width: round(left + right), height: round(height) });
      }
    }
    for (const edge of level.edges) {
      const { line } = edge;
      if (level.leaving.get(line) === edge.to || level.entering.get(line) === edge.from) continue; // a piece of another level's
      scene.lines.push(this.draw(level, edge));
    }
  }

  private draw(level: Level, { line, from, to, back }: Edge): LineOut {
    const { source, target } = this.graph.lines[line]!, way = level.ways.get(line)!, key = String(line);
    const begin = this.units.get(source)!, end = this.units.get(target)!;
    const label = way.label && { x: round(way.label.x), y: round(way.label.y) };
    if (begin === end) return { key, ...loopAt(begin, way.loop ?? begin.x + begin.right + LOOP), label };
    if (back || from === to) {
      const points = way.points.length ? way.points : [{ x: Math.max(begin.x + begin.right, end.x + end.right) + 24, y: (begin.top + end.top) / 2 }];
      return { key, ...backwards(begin, end, points), label };
    }
    const out = inside(this.around.get(source)!, level.block), into = inside(this.around.get(target)!, level.block).reverse();
    const points: Point[] = [{ x: begin.x, y: begin.top + begin.height }];
    let unit = begin;
    const leave = (way: Way): void => {
      points.push({ x: points.at(-1)!.x, y: unit.below }, ...way.points);
    };
    for (const block of out) {
      const inner = this.level(block), gate = inner.leaving.get(line);
      if (gate) {
        leave(inner.ways.get(line)!);
        points.push({ x: gate.x, y: gate.top }, { x: gate.x, y: inner.bounds.bottom });
      }
      unit = this.units.get(block)!;
    }
    leave(way);
    for (const block of into) {
      const inner = this.level(block), gate = inner.entering.get(line), x = gate?.x ?? inner.head!.x;
      points.push({ x, y: this.units.get(block)!.above }, { x, y: inner.bounds.top });
      if (gate) points.push({ x, y: gate.top }, ...inner.ways.get(line)!.points);
    }
    const tip = { x: round(end.x), y: round(end.top) };
    points.push({ x: tip.x, y: end.above }, tip);
    return { key, path: downwards(points), tip, turn: 90, label };
  }
}

/** Something in a rank that has a place from left to right: a unit, or where a line goes through. */
interface Item {
  x: number; left: number; right: number; gap: number;
  up: { item: Item; weight: number }[]; down: { item: Item; weight: number }[];
  weight: number;
  /** Of something low in a tall rank to which, or from which, nothing leads: at which edge of it that is. */
  hangs: "" | "top" | "bottom";
  height: number; rank: number;
  row: Item[]; place: number;
  move(x: number): void;
}

/** Swap what stands beside each other where fewer lines cross then; whether there was something to swap. */
function uncross(row: Item[]): boolean {
  const crossings = (left: Item, right: Item): number => {
    let found = 0;
    for (const way of ["up", "down"] as const) for (const one of left[way]) for (const other of right[way]) if (one.item.place > other.item.place) found++;
    return found;
  };
  let swapped = false;
  for (let place = 0; place + 1 < row.length; place++) {
    const one = row[place]!, other = row[place + 1]!;
    if (crossings(one, other) <= crossings(other, one)) continue;
    [one.x, other.x] = [other.x, one.x];
    [row[place], row[place + 1]] = [other, one];
    [one.place, other.place] = [place + 1, place];
    swapped = true;
  }
  return swapped;
}

/** Move a row to where its neighbours want it, in its order and with its gaps. Of those that collide, the weightiest has its place. */
function settle(row: readonly Item[], neighbours: (item: Item) => { item: Item; weight: number }[]): void {
  // offsets take the gaps out: then only the order is left, and what collides goes to the same place
  const groups: { from: number; to: number; wants: [number, number][]; x: number }[] = [], offsets: number[] = [];
  let offset = 0;
  row.forEach((item, number) => {
    if (number) offset += between(row[number - 1]!, item);
    offsets.push(offset);
    const near = neighbours(item), wanted = median(near.map((it) => [it.item.x, it.weight])) ?? item.x;
    groups.push({ from: number, to: number, wants: [[wanted - offset, near.length ? item.weight : 0.01]], x: wanted - offset });
    while (groups.length > 1 && groups.at(-2)!.x > groups.at(-1)!.x) {
      const last = groups.pop()!, group = groups.at(-1)!;
      group.to = last.to;
      group.wants.push(...last.wants);
      group.x = median(group.wants)!;
    }
  });
  for (const { from, to, x } of groups) for (let number = from; number <= to; number++) row[number]!.x = x + offsets[number]!;
}

/** What is straight moves as a whole to where its other neighbours want it: one by one its parts hold each other. */
function shiftGroups(rows: readonly (readonly Item[])[]): void {
  const group = new Map<Item, Item[]>();
  for (const row of rows) for (const item of row) {
    const above = item.up.find((it) => it.weight >= 4 && Math.abs(it.item.x - item.x) < 0.5 && group.has(it.item))?.item;
    const own = above === undefined ? [] : group.get(above)!;
    own.push(item);
    group.set(item, own);
  }
  for (const own of new Set(group.values())) {
    const members = new Set(own), wants: [number, number][] = [];
    let least = -Infinity, most = Infinity;
    for (const item of own) {
      for (const { item: other, weight } of [...item.up, ...item.down]) if (!members.has(other)) wants.push([other.x - item.x, weight]);
      const row = item.row, place = item.place, before = row[place - 1], after = row[place + 1];
      if (before && !members.has(before)) least = Math.max(least, before.x + between(before, item) - item.x);
      if (after && !members.has(after)) most = Math.min(most, after.x - between(item, after) - item.x);
    }
    wants.push([0, 0.001]); // as it is, if nobody minds
    const by = Math.max(least, Math.min(most, median(wants)!));
    if (Number.isFinite(by) && least <= most + 0.01) for (const item of own) item.x += by;
  }
}

function between(one: Item, other: Item): number {
  // one may be above the other, but neither beyond it: there may be something tall beside them
  if (one.hangs && other.hangs && one.hangs !== other.hangs && one.height + other.height + 30 <= one.rank) {
    return Math.max(one.right - other.right, other.left - one.left);
  }
  return one.right + one.gap + other.gap + other.left;
}

/** The place with as much weight on each side of it; between two, their middle. */
function median(places: readonly [place: number, weight: number][]): number | undefined {
  if (places.length < 2) return places[0]?.[0];
  const sorted = places.toSorted(([one], [other]) => one - other), half = sorted.reduce((sum, [, weight]) => sum + weight, 0) / 2;
  let passed = 0;
  for (let number = 0; number < sorted.length; number++) {
    const [place, weight] = sorted[number]!;
    passed += weight;
    if (Math.abs(passed - half) < 1e-9 && number + 1 < sorted.length) return (place + sorted[number + 1]![0]) / 2;
    if (passed > half) return place;
  }
  return sorted.at(-1)![0];
}

interface DagreEdge { width?: number; height?: number; labelpos?: "l" | "c" | "r"; weight?: number; minlen?: number; points?: Point[]; x?: number; y?: number }

/** The blocks around a box that are inside of a level, the innermost first. */
function inside(around: readonly (string | null)[], level: string | null): string[] {
  return around.slice(0, around.indexOf(level)) as string[];
}

/** Mark the edges that go back to a unit on the way to them, in the order of the drawing. */
function markBack(level: Level): void {
  const leaving = new Map<Unit, Edge[]>();
  const entered = new Set<Unit>();
  for (const edge of level.edges) {
    if (edge.from === edge.to) continue;
    leaving.set(edge.from, [...(leaving.get(edge.from) ?? []), edge]);
    entered.add(edge.to);
  }
  const state = new Map<Unit, "open" | "done">();
  const visit = (start: Unit): void => {
    const stack: { unit: Unit; next: number }[] = [{ unit: start, next: 0 }];
    state.set(start, "open");
    while (stack.length) {
      const top = stack.at(-1)!, edge = leaving.get(top.unit)?.[top.next++];
      if (edge === undefined) {
        state.set(top.unit, "done");
        stack.pop();
      } else if (state.get(edge.to) === "open") edge.back = true;
      else if (!state.has(edge.to)) {
        state.set(edge.to, "open");
        stack.push({ unit: edge.to, next: 0 });
      }
    }
  };
  const starts = level.units.filter((it) => !entered.has(it));
  for (const unit of [...(level.head ? [level.head] : []), ...starts, ...level.units]) if (!state.has(unit)) visit(unit);
}

// -- paths ----------------------------------------------------------------------------------------------------------------

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
const at = (x: number, y: number): string => `${round(x)} ${round(y)}`;

/** A path down through points: straight where they are below each other, and an S between two that are not. */
function downwards(points: readonly Point[]): string {
  let { x, y } = points[0]!, path = `M${at(x, y)}`;
  points.slice(1).forEach((to, number) => {
    const next = points[number + 2];
    if (Math.abs(to.x - x) < 0.6 && (to.y <= y + 0.1 || (next && Math.abs(next.x - x) < 0.6))) return;
    if (Math.abs(to.x - x) < 0.6) path += `L${at(to.x, to.y)}`;
    else {
      const middle = (y + to.y) / 2;
      path += `C${at(x, middle)} ${at(to.x, middle)} ${at(to.x, to.y)}`;
    }
    ({ x, y } = to);
  });
  return path;
}

/** A path from a box up to another one along a lane beside them. */
function backwards(from: Unit, to: Unit, lane: readonly Point[]): { path: string; tip: Point; turn: number } {
  const first = lane[0]!, last = lane.at(-1)!;
  const [begin, beginY, beginTurn] = side(from, first.x), [end, endY, endTurn] = side(to, last.x);
  let path: string, x = first.x, y: number;
  if (beginTurn) {
    const corner = first.x + (first.x > begin ? -ROUND : ROUND);
    path = `M${at(begin, beginY)}L${at(corner, beginY)}Q${at(first.x, beginY)} ${at(first.x, beginY - ROUND)}`;
    y = beginY - ROUND;
  } else {
    x = begin;
    y = from.top;
    path = `M${at(x, y)}`;
  }
  const up = (toX: number, toY: number): void => {
    if (Math.abs(toX - x) < 0.6) path += `L${at(toX, toY)}`;
    else path += `C${at(x, (y + toY) / 2)} ${at(toX, (y + toY) / 2)} ${at(toX, toY)}`;
    [x, y] = [toX, toY];
  };
  for (const point of lane) if (point.y < y) up(point.x, point.y);
  if (endTurn) {
    if (endY + ROUND < y) up(last.x, endY + ROUND);
    const corner = last.x + (last.x > end ? -ROUND : ROUND);
    path += `Q${at(last.x, endY)} ${at(corner, endY)}L${at(end, endY)}`;
    return { path, tip: { x: round(end), y: round(endY) }, turn: last.x > end ? 180 : 0 };
  }
  up(end, to.top + to.height);
  return { path, tip: { x: round(end), y: round(to.top + to.height) }, turn: 270 };
}

/** Where a lane meets a box: at a side, if it is beside it, else (`false`) above or below. */
function side(unit: Unit, x: number): [x: number, y: number, beside: boolean] {
  const left = unit.x - unit.left, right = unit.x + unit.right, y = unit.top + Math.min(unit.height, 36) / 2;
  if (x >= right + ROUND) return [right, y, true];
  if (x <= left - ROUND) return [left, y, true];
  return [Math.max(left + 12, Math.min(right - 12, x)), y, false];
}

/** A line from a box to itself, at its right side. */
function loopAt(unit: Unit, lane: number): { path: string; tip: Point; turn: number } {
  const right = unit.x + unit.right, y = unit.top + Math.min(unit.height, 36) / 2, up = y - 4, down = y + 12;
  const path = `M${at(right, down)}L${at(lane - 8, down)}C${at(lane + 2, down)} ${at(lane + 2, up)} ${at(lane - 8, up)}L${at(right, up)}`;
  return { path, tip: { x: round(right), y: round(up) }, turn: 180 };
}

const NUMBER_PAIR = /(-?[\d.]+) (-?[\d.]+)/g;

function moved(line: LineOut, prefix: string, dx: number, dy: number): LineOut {
  const { path, tip, label } = line;
  return {
    ...line, key: `${prefix}/${line.key}`, path: path.replace(NUMBER_PAIR, (_, x: string, y: string) => at(Number(x) + dx, Number(y) + dy)),
    tip: { x: tip.x + dx, y: tip.y + dy }, label: label && { x: label.x + dx, y: label.y + dy },
  };
}
