import { render } from "preact";
import { App } from "./app/app";
import { start } from "./app/live";

start();
render(<App />, document.getElementById("page")!);
