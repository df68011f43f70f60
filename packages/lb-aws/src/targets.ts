import type { Node, Service } from "@portolan/core";
import { annotationOf } from "./annotations.ts";

/** One entry of a target group: an instance or an address, with a port. */
export interface Target {
  readonly id: string;
  readonly port: number;
  /** Zone of an address; `all` for addresses outside of the VPC. */
  readonly zone?: string;
}

/** Most targets that one call registers or deregisters. */
export const targetsPerCall = 100;

const keyOf = (target: Target): string => `${target.id}:${target.port}`;
const byKey = (left: Target, right: Target): number => (keyOf(left) < keyOf(right) ? -1 : 1);

/** Targets that have to come and to go, in the order of their ids. */
export function diffTargets(
  desired: readonly Target[],
  observed: readonly Target[],
): { register: Target[]; deregister: Target[] } {
  const wanted = new Map(desired.map((target) => [keyOf(target), target]));
  const present = new Map(observed.map((target) => [keyOf(target), target]));
  return {
    register: [...wanted]
      .filter(([key]) => !present.has(key))
      .map(([, target]) => target)
      .sort(byKey),
    deregister: [...present]
      .filter(([key]) => !wanted.has(key))
      .map(([, target]) => target)
      .sort(byKey),
  };
}

/** Targets in pieces of a size. */
export function chunkTargets(targets: readonly Target[], size: number = targetsPerCall): Target[][] {
  return Array.from({ length: Math.ceil(targets.length / size) }, (_, index) =>
    targets.slice(index * size, (index + 1) * size),
  );
}

/** One call that changes the targets of a group. */
export interface TargetCall {
  readonly call: "RegisterTargets" | "DeregisterTargets";
  readonly targets: readonly Target[];
}

/**
 * Calls that bring a target group to what is desired. New targets come before old ones go, so that there is no time without,
 * unless the group's quota has no room for both.
 */
export function targetCalls(
  desired: readonly Target[],
  observed: readonly Target[],
  quota: number = Infinity,
): TargetCall[] {
  const { register, deregister } = diffTargets(desired, observed);
  const coming = chunkTargets(register).map((targets): TargetCall => ({ call: "RegisterTargets", targets }));
  const going = chunkTargets(deregister).map((targets): TargetCall => ({ call: "DeregisterTargets", targets }));
  return observed.length + register.length > quota ? [...going, ...coming] : [...coming, ...going];
}

/**
 * Names of nodes that the in-tree provider takes for targets: annotation `target-node-labels` lists labels with or without
 * values, all of which a node must have.
 */
export function inTreeTargetNodes(service: Service, nodes: readonly Node[]): string[] {
  const wanted = (annotationOf(service, "target-node-labels") ?? "")
    .split(",")
    .map((entry) => entry.trim().split("="))
    .filter(([key]) => key !== "");
  const labelled = nodes.filter((node) =>
    wanted.every(([key, value = ""]) => {
      const label = node.metadata.labels?.[key!];
      return label !== undefined && (value === "" || value === label);
    }),
  );
  return labelled.map((node) => node.metadata.name ?? "");
}

/** Id of the instance of a node: the last part of `aws:///zone/i-0123`; undefined for nodes that are no instances. */
export function instanceIdOf(providerID: string | undefined): string | undefined {
  const id = providerID?.slice(providerID.lastIndexOf("/") + 1);
  return id ? id : undefined;
}
