/** A load balancer of the Harbour cloud: everything about it is one object, written as a whole. */
export interface Balancer {
  readonly name: string;
  /** Whose it is: `cluster|namespace|name|uid`. Absent: not made by this provider. */
  readonly mark?: string;
  readonly network: "public" | "private";
  readonly ports: readonly { readonly port: number; readonly protocol: string; readonly nodePort: number }[];
  readonly allow: readonly string[];
  readonly nodes: readonly string[];
}

/** Calls of the Harbour cloud that a provider makes: its port. */
export interface HarbourPort {
  listBalancers(): Promise<readonly (Balancer & { readonly address: string })[]>;
  /** Creates, or replaces what has the name. The address stays while the network does. */
  putBalancer(balancer: Balancer): Promise<string>;
  deleteBalancer(name: string): Promise<void>;
}

/** The Harbour cloud in memory. */
export class Harbour implements HarbourPort {
  readonly balancers: Map<string, Balancer & { address: string }> = new Map();
  private next = 1;

  async listBalancers(): Promise<readonly (Balancer & { readonly address: string })[]> {
    return [...this.balancers.values()];
  }

  async putBalancer(balancer: Balancer): Promise<string> {
    const before = this.balancers.get(balancer.name);
    const address =
      before?.network === balancer.network
        ? before.address
        : `${balancer.network === "public" ? "203.0.113" : "10.200.0"}.${this.next++}`;
    this.balancers.set(balancer.name, { ...balancer, address });
    return address;
  }

  async deleteBalancer(name: string): Promise<void> {
    this.balancers.delete(name);
  }
}
