import { Event, Parsed } from "../generated/layout";
import { Tables } from "./tables";

/** The ring of events: written here, read by the host. When it is full, events are counted as lost; the packet path never waits. */
export class Events {
  @inline static wanted(kind: u32): bool {
    return ((Tables.control.eventMask >> kind) & 1) != 0;
  }

  /** Reserves the next slot; 0 when the ring is full. */
  @inline static reserve(): usize {
    const control = Tables.control;
    if (control.eventHead - control.eventTail > control.eventMaskIndex) {
      control.eventsLost++;
      return 0;
    }
    const at = <usize>(control.events + ((control.eventHead & control.eventMaskIndex) << 6));
    control.eventHead++;
    return at;
  }

  static emit(kind: u32, p: Parsed, reason: u32, servicePort: u32, backend: u32): void {
    if (!Events.wanted(kind) || Tables.control.tracing) return;
    Events.write(
      kind,
      reason,
      p.sourceHigh,
      p.sourceLow,
      p.destinationHigh,
      p.destinationLow,
      p.ports,
      p.meta,
      servicePort,
      backend,
      p.ingress,
    );
  }

  /** Fills in the next slot, if there is one. */
  @inline static write(
    kind: u32,
    reason: u32,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
    servicePort: u32,
    backend: u32,
    port: u32,
  ): void {
    const at = Events.reserve();
    if (at == 0) return;
    const event = changetype<Event>(at);
    event.sourceHigh = sourceHigh;
    event.sourceLow = sourceLow;
    event.destinationHigh = destinationHigh;
    event.destinationLow = destinationLow;
    event.ports = ports;
    event.meta = meta;
    event.kind = kind;
    event.reason = reason;
    event.servicePort = servicePort;
    event.backend = backend;
    event.time = Tables.control.now;
    event.port = port;
  }
}
