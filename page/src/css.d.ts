/** Style sheets are imported for what they do: the build gathers them in app.css. */
declare module "*.css";
