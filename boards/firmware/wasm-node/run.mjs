// Runs the module: node run.mjs wasm_node.wasm LABEL SEED, the label being a number.
import { readFile } from "node:fs/promises";

const [file, label, seed] = process.argv.slice(2);
const text = new TextDecoder();
const env = {
  print_line: (start, len) => console.log(text.decode(new Uint8Array(instance.exports.memory.buffer, start, len))),
  now: () => performance.now(),
};
const { instance } = await WebAssembly.instantiate(await readFile(file), { env });
const { check_kernels, draw_picture } = instance.exports;
process.exitCode = check_kernels() && draw_picture(Number(label), BigInt(seed)) ? 0 : 1;
