/** A failure that the user can do something about: one sentence what is wrong, one what to do. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  /** Process exit code: 1 for failures, 2 for wrong usage. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there; choose another port or end that program",
  EACCES: "permission is missing; choose another place or port",
  ENOSPC: "the disk is full; free some space and try again",
  EROFS: "the file system is read-only; choose another folder with --directory",
  EMFILE: "too many open files; raise the limit with `ulimit -n`",
};

/** The sentence for an error of the system, with what to do about it when that is known. */
export function explainError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  const remedy = code === undefined ? undefined : remedies[code];
  return remedy === undefined ? error.message : `${error.message}: ${remedy}`;
}
