import {
  Address,
  Backend,
  Connection,
  Control,
  CONTROL,
  LongAddress,
  Port,
  ServicePort,
  ServicePortExtension,
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
    return changetype<ServicePort>(<usize>(Tables.control.servicePorts + (id << 6)));
  }

  @inline static extension(id: u32): ServicePortExtension {
    return changetype<ServicePortExtension>(<usize>(Tables.control.extensions + (id << 7)));
  }

  @inline static backend(id: u32): Backend {
    return changetype<Backend>(<usize>(Tables.control.backends + (id << 5)));
  }

  @inline static longAddress(id: u32): LongAddress {
    return changetype<LongAddress>(<usize>(Tables.control.longAddresses + (id << 4)));
  }

  @inline static port(id: u32): Port {
    return changetype<Port>(<usize>(Tables.control.ports + (id << 6)));
  }

  @inline static addressSlot(index: u32): Address {
    return changetype<Address>(<usize>(Tables.control.addresses + (index << 5)));
  }
}
