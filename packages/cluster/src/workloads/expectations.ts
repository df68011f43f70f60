/**
 * What a controller has done and its informer has not shown yet, per owner. While something is pending, the local copy is too old
 * to decide by: acting on it would make or delete pods twice (client-go's controller expectations).
 */
export interface Expectations {
  /** A create of `key`'s owner returned an object with that UID. Do not call when the informer has it already. */
  expectCreation(key: string, uid: string): void;
  /** A delete is about to be sent. */
  expectDeletion(key: string, uid: string): void;
  /** The informer has shown the object, or the request failed. */
  observed(uid: string): void;
  /** True when nothing is pending, or what is pending has been so for longer than the timeout. */
  satisfied(key: string): boolean;
  forget(key: string): void;
}

/** Events may get lost together with a watch; after this long the relisted copy is believed. */
const TIMEOUT = 60_000;

/** Makes {@link Expectations}; `now` gives milliseconds. */
export function createExpectations(now: () => number): Expectations {
  const pending = new Map<string, Map<string, number>>();
  const owners = new Map<string, string>();
  const expect = (key: string, uid: string): void => {
    let uids = pending.get(key);
    if (uids === undefined) {
      uids = new Map();
      pending.set(key, uids);
    }
    uids.set(uid, now());
    owners.set(uid, key);
  };
  return {
    expectCreation: expect,
    expectDeletion: expect,
    observed(uid) {
      const key = owners.get(uid);
      if (key === undefined) return;
      owners.delete(uid);
      const uids = pending.get(key);
      uids?.delete(uid);
      if (uids?.size === 0) pending.delete(key);
    },
    satisfied(key) {
      const uids = pending.get(key);
      if (uids === undefined) return true;
      for (const [uid, since] of uids) {
        if (now() - since < TIMEOUT) return false;
        uids.delete(uid);
        owners.delete(uid);
      }
      pending.delete(key);
      return true;
    },
    forget(key) {
      for (const uid of pending.get(key)?.keys() ?? []) owners.delete(uid);
      pending.delete(key);
    },
  };
}
