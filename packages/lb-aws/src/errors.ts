import { type CallContext, ProviderError, type ProviderErrorCode } from "@portolan/lb";
import { AwsError, type AwsPort } from "./port.ts";
import type { RateLimiter } from "./rate-limit.ts";

/** Classes of AWS' codes; those that are not here go by the HTTP status. */
const classes: Readonly<Record<string, ProviderErrorCode>> = {
  Throttling: "Throttled",
  ThrottlingException: "Throttled",
  RequestLimitExceeded: "Throttled",
  TooManyRequestsException: "Throttled",
  AccessDenied: "Auth",
  AccessDeniedException: "Auth",
  UnauthorizedOperation: "Auth",
  AuthFailure: "Auth",
  InvalidClientTokenId: "Auth",
  ExpiredToken: "Auth",
  ExpiredTokenException: "Auth",
  SignatureDoesNotMatch: "Auth",
  UnrecognizedClientException: "Auth",
  OptInRequired: "Auth",
  TooManyLoadBalancers: "Quota",
  TooManyTargetGroups: "Quota",
  TooManyListeners: "Quota",
  TooManyTargets: "Quota",
  TooManyCertificates: "Quota",
  TooManyTags: "Quota",
  TooManyPolicies: "Quota",
  TooManyRegistrationsForTargetId: "Quota",
  TooManyUniqueTargetGroupsPerLoadBalancer: "Quota",
  RulesPerSecurityGroupLimitExceeded: "Quota",
  SecurityGroupLimitExceeded: "Quota",
  SecurityGroupsPerInstanceLimitExceeded: "Quota",
  InsufficientCapacity: "Quota",
  DependencyViolation: "NotReady",
  ResourceInUse: "NotReady",
  IncorrectState: "NotReady",
  DuplicateLoadBalancerName: "Conflict",
  DuplicateTargetGroupName: "Conflict",
  DuplicateListener: "Concurrency",
  DuplicatePolicyName: "Concurrency",
  PolicyNotFound: "Concurrency",
  "InvalidGroup.Duplicate": "Conflict",
  TargetGroupAssociationLimit: "NotReady",
  OperationNotPermitted: "Conflict",
  PriorRequestNotComplete: "Concurrency",
  LoadBalancerNotFound: "Concurrency",
  TargetGroupNotFound: "Concurrency",
  ListenerNotFound: "Concurrency",
  "InvalidGroup.NotFound": "Concurrency",
  "InvalidGroupId.NotFound": "Concurrency",
  "InvalidPermission.NotFound": "Concurrency",
  "InvalidPermission.Duplicate": "Concurrency",
  CertificateNotFound: "UserConfig",
  SSLPolicyNotFound: "UserConfig",
  SubnetNotFound: "UserConfig",
  InvalidSubnet: "UserConfig",
  InvalidScheme: "UserConfig",
  InvalidSecurityGroup: "UserConfig",
  InvalidTarget: "UserConfig",
  InvalidInstance: "UserConfig",
  InvalidConfigurationRequest: "UserConfig",
  UnsupportedProtocol: "UserConfig",
  AvailabilityZoneNotSupported: "UserConfig",
  AllocationIdNotFound: "UserConfig",
  ResourceNotFound: "UserConfig",
  ValidationError: "UserConfig",
  ALPNPolicyNotSupported: "UserConfig",
  CapacityUnitsLimitExceeded: "Quota",
  CapacityReservationPending: "NotReady",
  NetworkError: "Transient",
  MissingPeerDependency: "UserConfig",
};

/** Milliseconds until the next try, by class. */
const delays: Partial<Record<ProviderErrorCode, number>> = { Throttled: 2000, NotReady: 5000 };

/** AWS' code of a failure, if it has one. */
export function awsCodeOf(error: unknown): string | undefined {
  const cause = error instanceof ProviderError ? error.cause : error;
  return cause instanceof AwsError ? cause.code : undefined;
}

/** A failure in the provider contract's classes, with AWS' code, the call and the id of the request in its message. */
export function providerErrorOf(error: AwsError, method: string): ProviderError {
  const { code, status = 0, requestId, message } = error;
  const byStatus: ProviderErrorCode =
    status === 429
      ? "Throttled"
      : status === 403 || status === 401
        ? "Auth"
        : status >= 400 && status < 500
          ? "Bug"
          : "Transient";
  const known = classes[code] ?? byStatus;
  const retryAfter = delays[known];
  const action = `${method[0]!.toUpperCase()}${method.slice(1)}`;
  const request = requestId === undefined ? "" : ` (request ${requestId})`;
  return new ProviderError(known, `${action}: ${code}: ${message}${request}`, {
    cause: error,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

/** Stops waiting at an abort. What was asked for may still happen: the next pass finds out. */
async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * The port for the time of one call of the provider: it stops at an abort, does not begin anything after the deadline, keeps to
 * the limits of rate, and throws classified errors.
 */
export function boundPort(port: AwsPort, context: CallContext, limit: RateLimiter): AwsPort {
  return new Proxy(port, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property);
      if (typeof member !== "function" || typeof property !== "string") return member;
      return async (...parameters: unknown[]): Promise<unknown> => {
        context.signal.throwIfAborted();
        if (context.now() > context.deadline) {
          throw new ProviderError("NotReady", "out of time; what is done so far stays and the rest follows", {
            retryAfter: 1000,
          });
        }
        await limit(property, context);
        context.signal.throwIfAborted();
        try {
          return await untilAborted(context.signal, Reflect.apply(member, target, parameters) as Promise<unknown>);
        } catch (error) {
          throw error instanceof AwsError ? providerErrorOf(error, property) : error;
        }
      };
    },
  });
}
