import { render } from "preact";
render(<p>TriggerFlow</p>, document.getElementById("page")!);
