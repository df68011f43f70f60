import type { Session } from "./session.ts";

/** One command of the article, or one thing that it claims. */
export interface Step {
  /** The command, as the article has it; for claims, what is looked at. */
  readonly command: string;
  /** Why it is not run: there is no counterpart here, and what shows the same. */
  readonly notApplicable?: string;
  /** What the page says otherwise, or what is shown instead. */
  readonly note?: string;
  /** Modes in which it can be seen; absent: all that have packets. */
  readonly only?: { readonly mode: "netns"; readonly reason: string };
  /** Needs the program `script`, which gives a command a terminal. */
  readonly terminal?: boolean;
  /** Runs and checks; absent: the command itself, which has to exit with 0. */
  run?(session: Session): Promise<void>;
}

/** A section of the article. */
export interface Section {
  readonly title: string;
  /** The namespace it runs in; `default` and `production` where the article names them. Those stay, the others are deleted. */
  readonly namespace: string;
  /**
   * Sections of one lane run one after the other, because they use the same node port or the same objects; lanes run beside each
   * other. Default: the namespace.
   */
  readonly lane?: string;
  /** Makes what the article takes for granted. */
  prepare?(session: Session): Promise<void>;
  readonly steps: readonly Step[];
}
