import { parseArgs } from "node:util";
import { CommandError, explainError } from "./command-error.ts";
import { up } from "./up.ts";

const usage = `usage: portolan up [options]
       portolan lb plan|owned|gc [options]      (portolan lb --help)
       portolan replay CAPTURE [options]        (portolan replay --help)

Starts a Kubernetes cluster for Service networking on this machine, with a real application behind every kind of Service,
makes requests through all of them, and prints who answered and what the dataplane did.

  --mode auto|netns|gateway|none  netns: pods and nodes are network namespaces (Linux, root); gateway: pods are processes on
                                  loopback ports (anywhere); none: objects only. Default auto: what the machine allows
  --frames auto|af-xdp|packet|segments
                                  mode netns: how frames come into the nodes. Default auto: by AF_XDP where the machine has it,
                                  else by packet sockets; segments: by these, and TCP segments stay together
  --nodes N                       number of nodes, 1 to 8 (default 2)
  --once                          end after the table: exit code 0 when every request went where it had to
  --empty                         no application and no requests
  -f, --filename FILE             apply these manifests instead of the application (repeatable; - is standard input)
  --directory DIR                 folder for kubeconfig, logs and sockets, removed at the end (default .portolan)
  --data-dir DIR                  keep API objects and credentials here; the next cluster with it goes on with them, also after a
                                  crash (default: in memory)
  --api-server WHERE              embedded in this process, or a process of its own, which can be stopped, killed and waited for while
                                  all else goes on (default embedded)
  --api-port, --dns-port, --gateway-port N
                                  ports on 127.0.0.1 (default 16443, 10053, 10080, or free ones when these are taken)
  -v, --verbose                   print failures that are tried again
  -h, --help                      this text`;

function number(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new CommandError(`--${name} takes a number from ${min} to ${max}, not "${text}"`, 2);
  }
  return value;
}

const apiServers = ["embedded", "process"] as const;
const modes = ["auto", "netns", "gateway", "none"] as const;
const frameInterfaces = ["auto", "af-xdp", "packet", "segments"] as const;

/**
 * Runs the command line. @returns the exit code: 0, 1 for a failure, 2 for wrong usage
 *
 * @param argv arguments after the program's name
 */
export async function main(argv: readonly string[]): Promise<number> {
  const controller = new AbortController();
  let signals = 0;
  const onSignal = (): void => {
    signals++;
    controller.abort();
    if (signals === 3) process.exit(130);
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
  // A reader that goes away (`portolan up | head`) ends the cluster as Ctrl-C does.
  process.stdout.on("error", () => controller.abort());
  try {
    if (argv[0] === "lb") {
      // Only who plans load balancers loads their providers.
      const { loadBalancers } = await import("./load-balancers.ts");
      return await loadBalancers(argv.slice(1), controller.signal, (text) => console.log(text));
    }
    if (argv[0] === "replay") {
      const { replayCapture } = await import("./replay.ts");
      return replayCapture(argv.slice(1), (text) => console.log(text));
    }
    let parsed: ReturnType<typeof parse>;
    try {
      parsed = parse(argv);
    } catch (error) {
      throw new CommandError(`${(error as Error).message}\n\n${usage}`, 2);
    }
    const { values, positionals } = parsed;
    if (values.help) {
      console.log(usage);
      return 0;
    }
    const [command, ...rest] = positionals;
    if (command !== "up" || rest.length > 0) {
      throw new CommandError(
        command === undefined ? usage : `there is no command "${positionals.join(" ")}"\n\n${usage}`,
        2,
      );
    }
    const mode = modes.find((each) => each === values.mode);
    if (mode === undefined) throw new CommandError(`--mode is one of ${modes.join(", ")}, not "${values.mode}"`, 2);
    const frames = frameInterfaces.find((each) => each === values.frames);
    if (frames === undefined)
      throw new CommandError(`--frames is one of ${frameInterfaces.join(", ")}, not "${values.frames}"`, 2);
    const apiServer = apiServers.find((each) => each === (values["api-server"] ?? "embedded"));
    if (apiServer === undefined)
      throw new CommandError(`--api-server is ${apiServers.join(" or ")}, not "${values["api-server"]}"`, 2);
    const apiPort = number("api-port", values["api-port"], 1, 65535);
    const dnsPort = number("dns-port", values["dns-port"], 1, 65535);
    const gatewayPort = number("gateway-port", values["gateway-port"], 1, 65535);
    const code = await up(
      {
        mode,
        frames,
        nodes: number("nodes", values.nodes, 1, 8) ?? 2,
        once: values.once ?? false,
        empty: values.empty ?? false,
        verbose: values.verbose ?? false,
        files: values.filename ?? [],
        directory: values.directory ?? ".portolan",
        ...(values["data-dir"] === undefined ? {} : { dataDirectory: values["data-dir"] }),
        apiServer,
        ...(apiPort === undefined ? {} : { apiPort }),
        ...(dnsPort === undefined ? {} : { dnsPort }),
        ...(gatewayPort === undefined ? {} : { gatewayPort }),
      },
      controller.signal,
      (text) => console.log(text),
    );
    return signals > 0 && (values.once ?? false) ? 130 : code;
  } catch (error) {
    const known = error instanceof CommandError;
    console.error(`portolan: ${known ? error.message : explainError(error)}`);
    if (!known && process.env["PORTOLAN_DEBUG"] !== undefined) console.error(error);
    return known ? error.exitCode : 1;
  } finally {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(name, onSignal);
  }
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      mode: { type: "string", default: "auto" },
      frames: { type: "string", default: "auto" },
      nodes: { type: "string" },
      once: { type: "boolean" },
      empty: { type: "boolean" },
      filename: { type: "string", short: "f", multiple: true },
      directory: { type: "string" },
      "data-dir": { type: "string" },
      "api-server": { type: "string" },
      "api-port": { type: "string" },
      "dns-port": { type: "string" },
      "gateway-port": { type: "string" },
      verbose: { type: "boolean", short: "v" },
      help: { type: "boolean", short: "h" },
    },
  });
}
