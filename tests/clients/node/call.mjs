// Makes one call of Dify's client: node call.mjs BASE_URL KEY CLASS METHOD ARGUMENTS, the last being a JSON array.
// What comes back is printed as lines of JSON: the status with the body, or with a stream each frame as it comes.
import * as dify from "dify-client";

const [baseUrl, key, className, method, given] = process.argv.slice(2);
const client = new dify[className](key, baseUrl);
const isStream = (body) => typeof body?.on === "function";
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function printFrames(stream) {
  let rest = "";
  stream.setEncoding("utf8");
  for await (const text of stream) {
    const frames = (rest + text).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) if (frame.startsWith("data: ")) print(JSON.parse(frame.slice("data: ".length)));
  }
  if (rest) throw new Error(`the stream ended inside a frame: ${rest}`);
}

async function readAll(stream) {
  let text = "";
  stream.setEncoding("utf8");
  for await (const piece of stream) text += piece;
  return JSON.parse(text);
}

try {
  const { status, data } = await client[method](...JSON.parse(given));
  if (isStream(data)) await printFrames(data);
  else print({ status, data });
} catch (error) {
  if (!error.response) throw error;
  const { status, data } = error.response;
  print({ status, data: isStream(data) ? await readAll(data) : data });
}
