// Runs the module: node run.mjs wasm_node.wasm
import { readFile } from "node:fs/promises";

const text = new TextDecoder();
const env = {
  print_line: (start, len) => console.log(text.decode(new Uint8Array(instance.exports.memory.buffer, start, len))),
  now: () => performance.now(),
};
const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), { env });
const { check_kernels, draw_picture } = instance.exports;
process.exitCode = check_kernels() && draw_picture() ? 0 : 1;
