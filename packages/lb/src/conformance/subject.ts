import type { Clock } from "@portolan/client";
import type { Service } from "@portolan/core";
import type { LoadBalancerProvider } from "../provider.ts";

/** What a provider's author gives the kit. `Cloud` is whatever holds the provider's objects in memory or behind a test server. */
export interface ProviderSubject<Cloud> {
  readonly name: string;
  /** A new cloud without anything of the provider in it. */
  createCloud(): Cloud | Promise<Cloud>;
  /**
   * A provider on a cloud. All its calls to the cloud must go through `instrument(port)`, where `port` is an object whose methods
   * are those calls. Made several times for one cloud: for restarts, and for a second cluster in the same account.
   */
  createProvider(
    cloud: Cloud,
    options: {
      readonly instrument: <Port extends object>(port: Port) => Port;
      readonly cluster: string;
      readonly clock: Clock;
    },
  ): LoadBalancerProvider | Promise<LoadBalancerProvider>;
  /**
   * What is in the cloud, as plain data in a stable order, without anything that the cloud makes up (ids, addresses, times). Two
   * clouds are alike if their snapshots are equal.
   */
  snapshot(cloud: Cloud): unknown;
  /** Whether a method of the port changes anything. Default: all but those that begin with `describe`, `get`, `list` or `find`. */
  mutates?(method: string): boolean;
  /** Makes a plain Service one that this provider serves: class, annotations. Default: as it is. */
  prepare?(service: Service): Service;
  /** The same Service, reachable from inside only. */
  internal?(service: Service): Service;
  /** Sets of annotations to try to set and to remove again. */
  readonly annotations?: readonly Readonly<Record<string, string>>[];
  /** Removes or changes one object behind the provider's back, another one for each entry. */
  readonly drift?: readonly ((cloud: Cloud) => void | Promise<void>)[];
  /** Puts objects of somebody else into the cloud, under the names that the provider would use for its own. */
  plantForeign?(cloud: Cloud, names: Readonly<Record<string, string>>): void | Promise<void>;
  /** Only what {@link plantForeign} put there, as it is now. */
  foreign?(cloud: Cloud): unknown;
  /** Whether clients can get in now although the rules that should protect or serve them are not there. */
  exposed?(cloud: Cloud): boolean;
  /** Texts that must never show up in messages. */
  readonly secrets?: readonly string[];
  /** Properties that cannot hold, with the reason. */
  readonly skip?: Readonly<Record<string, string>>;
  close?(cloud: Cloud): void | Promise<void>;
}

/** One property of good providers. */
export interface ProviderProperty {
  /** `C1` … `C60`, as the project's specification numbers them. */
  readonly id: string;
  readonly title: string;
  /** Why it is not run for this subject. */
  readonly skipped?: string;
  /** Rejects with a description of what was seen instead. */
  run(): Promise<void>;
}
