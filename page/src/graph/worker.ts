/** The layout in a thread of its own, so that the page does not stand still. Without one, the page imports this file. */
import { layOut, type GraphIn, type Scene } from "./layout";

export { layOut };

export interface Asked { id: number; graph: GraphIn }
export type Answered = { id: number; scene: Scene } | { id: number; error: string };

if (typeof document === "undefined" && typeof self !== "undefined" && typeof self.postMessage === "function") {
  self.onmessage = ({ data }: MessageEvent<Asked>) => {
    let answer: Answered;
    try {
      answer = { id: data.id, scene: layOut(data.graph) };
    } catch (error) {
      answer = { id: data.id, error: String(error) };
    }
    self.postMessage(answer);
  };
}
