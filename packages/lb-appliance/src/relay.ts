import { createServer, connect as dial, type Server, type Socket } from "node:net";
import type { FlowPolicy, FlowPort } from "@portolan/lb";
import type { Appliance } from "./appliance.ts";
import { proxyProtocolHeader } from "./proxy-protocol.ts";

/** Options of {@link listenForClients}. */
export interface RelayOptions {
  readonly appliance: Appliance;
  readonly policy: FlowPolicy;
  readonly port: FlowPort;
  /** Where to listen. Port 0: any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Where a node's port can be reached from this process. */
  readonly reach: (node: string, port: number) => { readonly host: string; readonly port: number };
}

/** A socket for both families shows IPv4 addresses as `::ffff:192.0.2.1`. */
function unmapped(address = ""): string {
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}

/**
 * A TCP relay that does what the policy says to connections instead of packets: it asks the appliance for a node, sends the PROXY
 * protocol header where wanted, and ends connections that are idle for too long.
 *
 * @returns the server, listening
 */
export async function listenForClients(options: RelayOptions): Promise<Server> {
  const { appliance, policy, port, listen, reach } = options;
  const accept = (client: Socket): void => {
    const { remotePort = 0, localPort = 0 } = client;
    const [remoteAddress, localAddress] = [unmapped(client.remoteAddress), unmapped(client.localAddress)];
    const choice = appliance.connect(remoteAddress, remotePort, port);
    const { node, backend, handle } = choice;
    if (choice.verdict !== "ALLOW" || node === undefined || backend === undefined) {
      client.resetAndDestroy();
      return;
    }
    const server = dial(reach(node, backend.port));
    if (policy.proxyProtocol !== "none") {
      server.write(
        proxyProtocolHeader(policy.proxyProtocol, {
          sourceAddress: remoteAddress,
          sourcePort: remotePort,
          destinationAddress: localAddress,
          destinationPort: localPort,
        }),
      );
    }
    client.pipe(server).pipe(client);
    let open = true;
    const end = (): void => {
      client.destroy();
      server.destroy();
      if (open && handle !== undefined) appliance.release(handle);
      open = false;
    };
    for (const socket of [client, server]) {
      socket.setTimeout(policy.idleTimeoutSeconds.tcp * 1000, end);
      socket.on("error", end);
      socket.on("close", end);
    }
  };
  const relay = createServer({ allowHalfOpen: true }, accept);
  await new Promise<void>((resolve, reject) => {
    relay.once("error", reject);
    relay.listen(listen.port, listen.host, () => {
      relay.off("error", reject);
      resolve();
    });
  });
  return relay;
}
