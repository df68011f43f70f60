import { needsHealthCheckNodePort, type Service } from "@portolan/core";
import {
  defaultLoadBalancerName,
  isLoadBalancerTarget,
  loadBalancerStatusEqual,
  needsCleanup,
  needsUpdate,
  nodeChangeTriggersSync,
  ProviderError,
  reconcileDecision,
  requeueAfterFailure,
  sourceRangesAnnotation,
  sourceRangesOf,
} from "@portolan/lb";
import type { Answers } from "./vector.ts";

/** Rules of the service controller. */
export const answers: Answers = {
  name: ({ input }) => ({ name: defaultLoadBalancerName(input.service.metadata.uid) }),
  needsCleanup: ({ input }) => ({ needsCleanup: needsCleanup(input.service) }),
  needsUpdate: ({ input }) => ({ needsUpdate: needsUpdate(input.before, input.after) }),
  needsHealthCheckNodePort: ({ input }) => ({ needs: needsHealthCheckNodePort(input.service) }),
  nodeChangeTriggersSync: ({ input }) => ({ sync: nodeChangeTriggersSync(input.before, input.after) }),
  nodeEligible({ input }) {
    const node = { metadata: {}, ...input.node };
    const included = isLoadBalancerTarget(node);
    const ready = (node.status?.conditions ?? []).some(
      (entry: { type: string; status: string }) => entry.type === "Ready" && entry.status === "True",
    );
    return { inLoadBalancerNodeSet: included, eligibleWithReadinessPredicate: included && ready };
  },
  reconcileDecision: ({ input }) => reconcileDecision(input.service),
  requeue({ input }) {
    const seconds = input.retryAfterSeconds ?? input.seconds;
    const error =
      seconds === undefined
        ? new Error("failed")
        : new ProviderError("NotReady", "failed", { retryAfter: seconds * 1000 });
    const requeue = requeueAfterFailure(error);
    return requeue.kind === "after"
      ? { requeue: "after", seconds: requeue.delay / 1000 }
      : { requeue: requeue.kind, minSeconds: requeue.minimum / 1000, maxSeconds: requeue.maximum / 1000 };
  },
  sourceRanges({ input }) {
    const service: Service = input.service ?? {
      metadata: input.annotation === undefined ? {} : { annotations: { [sourceRangesAnnotation]: input.annotation } },
      spec: { loadBalancerSourceRanges: input.spec ?? input.sourceRanges ?? input.loadBalancerSourceRanges },
    };
    return { sourceRanges: sourceRangesOf({ ...service, metadata: service.metadata ?? {} }) };
  },
  statusEqual: ({ input }) => ({ equal: loadBalancerStatusEqual(input.left, input.right) }),
  statusPatch: ({ input }) => ({ patch: !loadBalancerStatusEqual(input.current, input.desired) }),
};
