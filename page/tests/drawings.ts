/** Drawings as the server gives them, for tests. */
import type { Drawing } from "../src/wire/types";

/** A flow with a sub-flow in a for_each, a batch, two matches, a side branch, signals, and ways back. */
export const brief: Drawing = {
  flow: "research_brief", definition: "4d649f739e75",
  boxes: [
    { key: "n0", shape: "start", lines: ["start"], operators: [], block: null, flow: null },
    { key: "n1", shape: "chunk", lines: ["plan"], operators: ["plan"], block: null, flow: null },
    { key: "n2", shape: "chunk", lines: ["log"], operators: ["log"], block: null, flow: null },
    { key: "n3", shape: "opener", lines: ["for each item, 3 at once"], operators: ["for_each<-plan"], block: "b0", flow: null },
    { key: "n4", shape: "chunk", lines: ["search"], operators: ["search"], block: "b0", flow: null },
    { key: "n5", shape: "flow", lines: ["summary"], operators: ["summary<-search"], block: "b0", flow: "summary" },
    { key: "n6", shape: "choice", lines: ["first that fits"], operators: ["match<-summary<-search"], block: "b1", flow: null },
    { key: "n7", shape: "chunk", lines: ["short"], operators: ["short"], block: "b1", flow: null },
    { key: "n8", shape: "chunk", lines: ["long"], operators: ["long"], block: "b1", flow: null },
    { key: "n9", shape: "point", lines: [], operators: ["match<-summary<-search/end"], block: "b1", flow: null },
    { key: "n10", shape: "point", lines: [], operators: ["for_each<-plan/end"], block: "b0", flow: null },
    { key: "n11", shape: "chunk", lines: ["rank_the_results_by_how_much_they_help_the_reader_today"], operators: ["rank_the_results_by_how_much_they_help_the_reader_today"], block: null, flow: null },
    { key: "n12", shape: "opener", lines: ["batch"], operators: ["batch<-rank_the_results_by_how_much_they_help_the_reader_today"], block: "b2", flow: null },
    { key: "n13", shape: "chunk", lines: ["facts"], operators: ["facts"], block: "b2", flow: null },
    { key: "n14", shape: "chunk", lines: ["risks"], operators: ["risks"], block: "b2", flow: null },
    { key: "n15", shape: "point", lines: [], operators: ["batch<-rank_the_results_by_how_much_they_help_the_reader_today/end"], block: "b2", flow: null },
    { key: "n16", shape: "chunk", lines: ["write"], operators: ["write"], block: null, flow: null },
    { key: "n17", shape: "choice", lines: ["first that fits"], operators: ["match<-write"], block: "b3", flow: null },
    { key: "n18", shape: "chunk", lines: ["middle"], operators: ["middle"], block: "b3", flow: null },
    { key: "n19", shape: "chunk", lines: ["ask"], operators: ["ask"], block: "b3", flow: null },
    { key: "n20", shape: "chunk", lines: ["note"], operators: ["note"], block: "b3", flow: null },
    { key: "n21", shape: "point", lines: [], operators: ["match<-write/end"], block: "b3", flow: null },
    { key: "n22", shape: "chunk", lines: ["publish"], operators: ["publish"], block: null, flow: null },
    { key: "n23", shape: "result", lines: ["result"], operators: ["end<-publish"], block: null, flow: null },
    { key: "n24", shape: "chunk", lines: ["count"], operators: ["count"], block: null, flow: null },
    { key: "n25", shape: "signal", lines: ["redo"], operators: [], block: null, flow: null },
  ],
  blocks: [
    { key: "b0", parent: null, operator: "for_each<-plan" },
    { key: "b1", parent: "b0", operator: "match<-summary<-search" },
    { key: "b2", parent: null, operator: "batch<-rank_the_results_by_how_much_they_help_the_reader_today" },
    { key: "b3", parent: null, operator: "match<-write" },
  ],
  lines: [
    { source: "n0", target: "n1", label: "", style: "solid", operators: [] },
    { source: "n1", target: "n2", label: "", style: "side", operators: [] },
    { source: "n1", target: "n3", label: "", style: "solid", operators: [] },
    { source: "n3", target: "n4", label: "", style: "solid", operators: [] },
    { source: "n4", target: "n5", label: "", style: "solid", operators: [] },
    { source: "n5", target: "n6", label: "", style: "solid", operators: [] },
    { source: "n6", target: "n7", label: "lambda", style: "solid", operators: ["match<-summary<-search/1"] },
    { source: "n6", target: "n8", label: "else", style: "solid", operators: ["match<-summary<-search/2"] },
    { source: "n7", target: "n9", label: "", style: "solid", operators: [] },
    { source: "n8", target: "n9", label: "", style: "solid", operators: [] },
    { source: "n9", target: "n10", label: "", style: "solid", operators: [] },
    { source: "n10", target: "n11", label: "", style: "solid", operators: [] },
    { source: "n11", target: "n12", label: "", style: "solid", operators: [] },
    { source: "n12", target: "n13", label: "", style: "solid", operators: [] },
    { source: "n12", target: "n14", label: "", style: "solid", operators: [] },
    { source: "n13", target: "n15", label: "", style: "solid", operators: [] },
    { source: "n14", target: "n15", label: "", style: "solid", operators: [] },
    { source: "n15", target: "n16", label: "", style: "solid", operators: [] },
    { source: "n16", target: "n17", label: "", style: "solid", operators: [] },
    { source: "n17", target: "n18", label: "'a'", style: "solid", operators: ["match<-write/1"] },
    { source: "n17", target: "n19", label: "'b'", style: "solid", operators: ["match<-write/2"] },
    { source: "n17", target: "n20", label: "else", style: "solid", operators: ["match<-write/3"] },
    { source: "n18", target: "n21", label: "", style: "solid", operators: [] },
    { source: "n19", target: "n21", label: "", style: "solid", operators: [] },
    { source: "n20", target: "n21", label: "", style: "solid", operators: [] },
    { source: "n21", target: "n22", label: "", style: "solid", operators: [] },
    { source: "n22", target: "n23", label: "", style: "solid", operators: [] },
    { source: "n4", target: "n24", label: "found", style: "emit", operators: ["when:found"] },
    { source: "n16", target: "n16", label: "again", style: "emit", operators: ["when:again", "back_to:write<-when:again"] },
    { source: "n25", target: "n11", label: "", style: "solid", operators: ["when:redo", "back_to:rank_the_results_by_how_much_they_help_the_reader_today<-when:redo"] },
  ],
};

/** The sub-flow of it. */
export const summary: Drawing = {
  flow: "summary", definition: "eb626b11018c",
  boxes: [
    { key: "n0", shape: "start", lines: ["start"], operators: [], block: null, flow: null },
    { key: "n1", shape: "opener", lines: ["for each item, 2 at once"], operators: ["for_each<-start"], block: "b0", flow: null },
    { key: "n2", shape: "chunk", lines: ["read"], operators: ["read"], block: "b0", flow: null },
    { key: "n3", shape: "point", lines: [], operators: ["for_each<-start/end"], block: "b0", flow: null },
    { key: "n4", shape: "chunk", lines: ["shorten"], operators: ["shorten"], block: null, flow: null },
    { key: "n5", shape: "result", lines: ["result"], operators: ["end<-shorten"], block: null, flow: null },
  ],
  blocks: [
    { key: "b0", parent: null, operator: "for_each<-start" },
  ],
  lines: [
    { source: "n0", target: "n1", label: "", style: "solid", operators: [] },
    { source: "n1", target: "n2", label: "", style: "solid", operators: [] },
    { source: "n2", target: "n3", label: "", style: "solid", operators: [] },
    { source: "n3", target: "n4", label: "", style: "solid", operators: [] },
    { source: "n4", target: "n5", label: "", style: "solid", operators: [] },
  ],
};

/** A drawing of these boxes; the first is the start. Lines are [source, target, label?]. */
export function drawing(names: readonly string[], lines: readonly [number, number, string?][]): Drawing {
  return {
    flow: "test", definition: "0",
    boxes: names.map((name, number) => ({
      key: `n${number}`, shape: name === "start" ? "start" : "chunk", lines: [name], operators: name === "start" ? [] : [name], block: null, flow: null,
    })),
    blocks: [],
    lines: lines.map(([source, target, label = ""]) => (
      { source: `n${source}`, target: `n${target}`, label, style: label ? "emit" : "solid", operators: [] }
    )),
  };
}

/** So many steps after each other. */
export function chain(length: number): Drawing {
  const names = Array.from({ length }, (_, number) => (number ? `step ${number}` : "start"));
  return drawing(names, names.slice(1).map((_, number) => [number, number + 1]));
}
