import { Backend, BackendFlag, HOST_HOP, MAPPED, NO_HOP } from "../generated/layout";
import { Tables } from "./tables";

/** Addresses and routes of backends, whose records hold both in short. */
export class Backends {
  @inline static high(backend: Backend): u64 {
    return (<u32>backend.flags & BackendFlag.IPV6) == 0 ? 0 : Tables.longAddress(backend.address).high;
  }

  @inline static low(backend: Backend): u64 {
    return (<u32>backend.flags & BackendFlag.IPV6) == 0
      ? ((<u64>backend.address) << 32) | <u64>MAPPED
      : Tables.longAddress(backend.address).low;
  }

  /** Does a backend's record hold its route? Not while a trace runs, which tells how a route is found. */
  @inline static isRouted(backend: Backend): bool {
    const control = Tables.control;
    return (
      <u32>backend.hopGeneration == control.hopGeneration &&
      <u32>backend.hop != NO_HOP &&
      control.hopEpoch == control.routeEpoch &&
      !control.tracing
    );
  }

  /** Is it also the route of a packet that leaves this node? */
  @inline static isForwarded(backend: Backend): bool {
    const control = Tables.control;
    return (
      <u32>backend.hopGeneration == control.hopGeneration &&
      <u32>backend.hop < HOST_HOP &&
      control.hopEpoch == control.routeEpoch
    );
  }

  /** Address of the prefix entry that routes it, when that is known; 0 when it is on the node itself. */
  @inline static route(backend: Backend): u32 {
    return <u32>backend.hop == HOST_HOP ? 0 : Tables.control.prefixes + ((<u32>backend.hop) << 6);
  }

  /** Remembers it. */
  static remember(backend: Backend, route: u32): void {
    const control = Tables.control;
    if (control.tracing || control.hopEpoch != control.routeEpoch) return;
    const hop = route == 0 ? HOST_HOP : (route - control.prefixes) >> 6;
    if (route != 0 && hop >= HOST_HOP) return;
    backend.hop = <u16>hop;
    backend.hopGeneration = <u16>control.hopGeneration;
  }

  @inline static countConnection(backend: Backend): void {
    if (++backend.connections == 0) backend.connectionsHigh++;
  }
}
