import type { PodConnection, PodStreams, RemoteCommandResult, RemoteCommandStreams } from "@portolan/apiserver";
import type { Pod } from "@portolan/core";
import { badRequestStatus } from "@portolan/core";
import type { ContainerProcess } from "./container-process.ts";
import type { ContainerRunner } from "./container-runner.ts";
import type { PodWorker } from "./pod-worker.ts";

/** Serves logs, exec, attach and port-forward of the pods that `worker` finds. */
export function createPodStreams(worker: (pod: Pod) => PodWorker | undefined): PodStreams {
  function find(pod: Pod, name: string | undefined): ContainerRunner {
    const found = worker(pod);
    const container = name ?? defaultContainer(pod);
    const runner = found?.runner(container);
    if (runner !== undefined) return runner;
    const known = [
      ...(pod.spec?.initContainers ?? []),
      ...(pod.spec?.containers ?? []),
      ...(pod.spec?.ephemeralContainers ?? []),
    ].some((one) => one.name === container);
    const { name: podName } = pod.metadata;
    if (!known) throw badRequestStatus(`container ${container} is not valid for pod ${podName}`);
    throw badRequestStatus(
      `container "${container}" in pod "${podName}" is waiting to start: ${found === undefined ? "not running on this node any more" : "ContainerCreating"}`,
    );
  }

  return {
    logs(pod, options, signal) {
      const runner = find(pod, options.container);
      const name = runner.record.container.name;
      const log = runner.log(options.previous === true);
      if (log === undefined) {
        if (options.previous === true) {
          throw badRequestStatus(`previous terminated container "${name}" in pod "${pod.metadata.name}" not found`);
        }
        const reason = runner.record.state.waiting?.reason ?? "ContainerCreating";
        const pulling = reason === "ErrImagePull" || reason === "ImagePullBackOff";
        const text = pulling ? "trying and failing to pull image" : reason;
        throw badRequestStatus(`container "${name}" in pod "${pod.metadata.name}" is waiting to start: ${text}`);
      }
      const since =
        options.sinceTime !== undefined
          ? Date.parse(options.sinceTime)
          : options.sinceSeconds === undefined
            ? undefined
            : Date.now() - options.sinceSeconds * 1000;
      return log.read(
        {
          ...(options.tailLines === undefined ? {} : { tailLines: options.tailLines }),
          ...(options.limitBytes === undefined ? {} : { limitBytes: options.limitBytes }),
          ...(since === undefined ? {} : { since }),
          timestamps: options.timestamps === true,
          follow: options.follow === true,
        },
        signal,
      );
    },

    async exec(pod, options, streams) {
      try {
        const runner = find(pod, options.container);
        const started = await runner.exec(options.command ?? [], {
          stdin: streams.stdin !== undefined,
          tty: options.tty,
          onOutput: (stream, chunk) => (stream === "stdout" ? streams.stdout?.(chunk) : streams.stderr?.(chunk)),
        });
        return await converse(started, streams, true);
      } catch (error) {
        return failure(error);
      }
    },

    async attach(pod, options, streams) {
      try {
        const runner = find(pod, options.container);
        const running = runner.process;
        const { terminated } = runner.record.state;
        if (running === undefined && terminated !== undefined && runner.unheard) {
          runner.onOutput((stream, chunk) =>
            stream === "stdout" ? streams.stdout?.(chunk) : streams.stderr?.(chunk),
          )();
          return { exitCode: 0 };
        }
        if (running === undefined) {
          return { error: `container ${runner.record.container.name} is not running; it has ended or is starting` };
        }
        const detach = runner.onOutput((stream, chunk) =>
          stream === "stdout" ? streams.stdout?.(chunk) : streams.stderr?.(chunk),
        );
        try {
          const once = runner.record.container.stdinOnce === true;
          const result = await converse(running, streams, once);
          // How the program ended is in the pod's status; an attach that has seen it to its end has succeeded.
          return "exitCode" in result ? { exitCode: 0 } : result;
        } finally {
          detach();
        }
      } catch (error) {
        return failure(error);
      }
    },

    async portForward(pod, port, signal): Promise<PodConnection> {
      const sandbox = worker(pod)?.sandbox;
      if (sandbox === undefined) throw badRequestStatus(`pod ${pod.metadata.name} does not run on this node`);
      const socket = await sandbox.connect(port, signal);
      const destroy = (): void => {
        socket.destroy();
      };
      signal.addEventListener("abort", destroy, { once: true });
      socket.on("error", destroy);
      socket.once("close", () => signal.removeEventListener("abort", destroy));
      return {
        readable: socket as AsyncIterable<Uint8Array>,
        write: (chunk) => {
          if (socket.writable) socket.write(chunk);
        },
        end: () => {
          socket.end();
        },
      };
    },
  };
}

/** The container that is meant when none is named: the one annotated as default, else the first. */
function defaultContainer(pod: Pod): string {
  return pod.metadata.annotations?.["kubectl.kubernetes.io/default-container"] ?? pod.spec?.containers[0]?.name ?? "";
}

function failure(error: unknown): RemoteCommandResult {
  return { error: error instanceof Error ? error.message : String(error) };
}

/** Moves input and terminal sizes until the program ends or the client goes away. */
async function converse(
  running: ContainerProcess,
  streams: RemoteCommandStreams,
  closeInput: boolean,
): Promise<RemoteCommandResult> {
  const { stdin } = running;
  const gone = new Promise<"gone">((resolve) => {
    if (streams.signal.aborted) resolve("gone");
    streams.signal.addEventListener("abort", () => resolve("gone"), { once: true });
  });
  if (streams.stdin !== undefined && stdin !== undefined) {
    void (async () => {
      try {
        for await (const chunk of streams.stdin ?? []) {
          if (!stdin.writable) return;
          if (!stdin.write(chunk)) {
            await Promise.race([new Promise((resolve) => stdin.once("drain", resolve)), running.exited, gone]);
          }
        }
      } catch {
        // The client broke off: the same as its end.
      }
      if (closeInput) stdin.end();
    })();
  }
  if (streams.resize !== undefined) {
    void (async () => {
      try {
        for await (const { width, height } of streams.resize ?? []) running.resize(width, height);
      } catch {
        // As above.
      }
    })();
  }
  const result = await Promise.race([running.exited, gone]);
  if (result !== "gone") return { exitCode: result.exitCode };
  // A program whose terminal or input went away ends by itself; one without goes on, as in a real container.
  if (closeInput && stdin !== undefined) stdin.end();
  return { error: "client disconnected" };
}
