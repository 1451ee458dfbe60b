// Everything that needs the library that draws: one file of its own, which is loaded while the player arrives.
export { Land } from "./land";
export { Picture } from "./picture";
export { Scene } from "./scene";
