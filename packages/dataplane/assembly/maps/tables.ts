import {
  Address,
  Backend,
  Connection,
  Control,
  CONTROL,
  Port,
  ServicePort,
  ServicePortCounters,
} from "../generated/layout";

/** Where things lie: the control block is at a fixed address and holds the bases of all maps. */
export class Tables {
  @inline static get control(): Control {
    return changetype<Control>(<usize>CONTROL);
  }

  @inline static connection(id: u32): Connection {
    return changetype<Connection>(<usize>(Tables.control.connections + (id << 7)));
  }

  @inline static servicePort(id: u32): ServicePort {
    return changetype<ServicePort>(<usize>(Tables.control.servicePorts + (id << 7)));
  }

  @inline static counters(id: u32): ServicePortCounters {
    return changetype<ServicePortCounters>(<usize>(Tables.control.servicePortCounters + (id << 6)));
  }

  @inline static backend(id: u32): Backend {
    return changetype<Backend>(<usize>(Tables.control.backends + (id << 6)));
  }

  @inline static port(id: u32): Port {
    return changetype<Port>(<usize>(Tables.control.ports + (id << 6)));
  }

  @inline static addressSlot(index: u32): Address {
    return changetype<Address>(<usize>(Tables.control.addresses + (index << 5)));
  }
}
