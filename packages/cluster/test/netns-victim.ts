/** A process that makes a fabric with programs in it, and waits to be killed. Prints the process ids that must end with it. */
import { spawn } from "node:child_process";
import { createNetnsFabric, type FrameInterface } from "../src/netns/index.ts";

const fabric = await createNetnsFabric({ frames: process.argv[2] as FrameInterface });
const node = await fabric.addNode({ name: "node1", addresses: ["172.18.0.2"], podCIDRs: ["10.244.1.0/24"] });
const pod = await node.addPod({ name: "pod", addresses: ["10.244.1.2"] });
const lines: string[] = [];
const print = (line: string): void => {
  lines.push(line);
  if (lines.length === 3) console.log(lines.join("\n"));
};

// A pod whose program has a child of its own, in a process namespace; a program of the node; one of the client.
for (const [place, privateProcesses] of [
  [pod, true],
  [node, false],
  [fabric.client, false],
] as const) {
  const marker = `${3000 + process.pid}`;
  const script = privateProcesses ? `sleep ${marker} & sleep ${marker}` : `exec sleep ${marker}`;
  const { command, args } = place.command(["sh", "-c", `echo up; ${script}`], { privateProcesses });
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], detached: true });
  child.stdout.once("data", () => print(`${child.pid} ${marker}`));
}
