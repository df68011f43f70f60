import type { InformerFactory } from "@portolan/client";
import { resources, type Service } from "@portolan/core";
import type { Gateway, GatewayClient, LoopbackDoor } from "./gateway.ts";

/** A door that is open. */
export interface OpenDoor {
  readonly door: LoopbackDoor;
  /** `LoadBalancer default/frontend 172.18.255.1:80`. */
  readonly what: string;
}

/** Options of {@link createDoors}. */
export interface DoorsOptions {
  readonly informers: InformerFactory;
  readonly gateway: Gateway;
  /** Address of the node whose node ports the doors lead to. */
  readonly nodeAddress: string;
  /** Who the clients of doors are. */
  readonly client: () => GatewayClient;
  /** Told why a door could not be opened on the port that was wanted. */
  readonly onProblem: (service: Service, message: string) => void;
}

/** Doors on 127.0.0.1, kept equal to the Services. */
export interface Doors {
  run(signal: AbortSignal): Promise<void>;
  open(): readonly OpenDoor[];
}

interface WantedDoor {
  readonly service: Service;
  readonly what: string;
  readonly address: string;
  readonly port: number;
  /** Port of 127.0.0.1: the node port itself, or for load balancers the Service port where that is allowed and free. */
  readonly local: number;
}

function wantedDoors(services: readonly Service[], nodeAddress: string): Map<string, WantedDoor> {
  const out = new Map<string, WantedDoor>();
  for (const service of services) {
    const name = `${service.metadata.namespace}/${service.metadata.name}`;
    for (const port of service.spec?.ports ?? []) {
      if ((port.protocol ?? "TCP") !== "TCP") continue;
      if (port.nodePort) {
        const what = `NodePort ${name} ${nodeAddress}:${port.nodePort}`;
        out.set(what, { service, what, address: nodeAddress, port: port.nodePort, local: port.nodePort });
      }
      for (const ingress of service.spec?.type === "LoadBalancer"
        ? (service.status?.loadBalancer?.ingress ?? [])
        : []) {
        if (!ingress.ip) continue;
        const what = `LoadBalancer ${name} ${ingress.ip}:${port.port}`;
        out.set(what, { service, what, address: ingress.ip, port: port.port, local: port.port });
      }
    }
  }
  return out;
}

/**
 * Opens a port of 127.0.0.1 for each TCP node port (the same number) and each load-balancer address and port (the same number
 * where it is allowed and free, otherwise any), and closes it when the Service no longer has it. UDP has no doors.
 */
export function createDoors(options: DoorsOptions): Doors {
  const { informers, gateway, nodeAddress } = options;
  const services = informers.informer<Service>(resources.services);
  const open = new Map<string, OpenDoor>();
  let running = false;
  let settling: Promise<void> | undefined;
  let again = false;

  async function openDoor(wanted: WantedDoor): Promise<void> {
    const target = { address: wanted.address, port: wanted.port, client: options.client };
    let door: LoopbackDoor;
    try {
      door = await gateway.open(wanted.local, target);
    } catch (error) {
      door = await gateway.open(0, target);
      const { code } = error as NodeJS.ErrnoException;
      const why =
        code === "EACCES"
          ? "needs root"
          : code === "EADDRINUSE"
            ? "is taken by another program"
            : (error as Error).message;
      options.onProblem(
        wanted.service,
        `127.0.0.1:${wanted.local} ${why}; 127.0.0.1:${door.port} leads to ${wanted.what} instead`,
      );
    }
    if (running) open.set(wanted.what, { door, what: wanted.what });
    else door.close();
  }

  async function settle(): Promise<void> {
    do {
      again = false;
      const wanted = wantedDoors(services.lister.list(), nodeAddress);
      for (const [what, { door }] of [...open]) {
        if (wanted.has(what)) continue;
        open.delete(what);
        door.close();
      }
      for (const door of wanted.values()) if (!open.has(door.what) && running) await openDoor(door);
    } while (again && running);
  }

  const later = (): void => {
    if (!running) return;
    if (settling !== undefined) {
      again = true;
      return;
    }
    settling = settle().finally(() => {
      settling = undefined;
    });
  };
  services.addHandler({ add: later, update: later, delete: later });

  return {
    open: () => [...open.values()],
    async run(signal) {
      await services.synced(signal);
      if (signal.aborted) return;
      running = true;
      later();
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      running = false;
      await settling;
      for (const { door } of open.values()) door.close();
      open.clear();
    },
  };
}
