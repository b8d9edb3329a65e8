/** The outlines of boxes, around (0, 0) as their upper left corner. */

const at = (x: number, y: number): string => `${x} ${y}`;

function rounded(width: number, height: number, radius: number): string {
  const r = Math.min(radius, width / 2, height / 2), a = `A${r} ${r} 0 0 1 `;
  return `M${r} 0H${width - r}${a}${at(width, r)}V${height - r}${a}${at(width - r, height)}H${r}${a}${at(0, height - r)}V${r}${a}${at(r, 0)}Z`;
}

function corners(points: readonly [number, number][]): string {
  return `M${points.map(([x, y]) => at(x, y)).join("L")}Z`;
}

export function outline(shape: string, width: number, height: number): string {
  const middle = height / 2;
  switch (shape) {
    case "gate":
    case "collect":
    case "choice":
      return corners([[10, 0], [width - 10, 0], [width, middle], [width - 10, height], [10, height], [0, middle]]);
    case "signal":
      return corners([[0, 0], [width, 0], [width, height], [0, height], [9, middle]]);
    case "case":
      return corners([[9, 0], [width, 0], [width - 9, height], [0, height]]);
    case "error":
      return corners([[8, 0], [width - 8, 0], [width, 8], [width, height - 8], [width - 8, height], [8, height], [0, height - 8], [0, 8]]);
    case "data":
      return rounded(width, height, 3);
    case "start":
    case "result":
    case "timer":
    case "opener":
      return rounded(width, height, middle);
    default:
      return rounded(width, height, 8);
  }
}

/** A line inside of an outline that tells one kind from another. */
export function inner(shape: string, width: number, height: number): string {
  return shape === "data" ? `M5 0V${height}M${width - 5} 0V${height}` : "";
}
