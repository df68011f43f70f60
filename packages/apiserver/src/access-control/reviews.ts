import { type FieldError, invalid, invalidStatus, type KubernetesObject, type PolicyRule } from "@portolan/core";
import type { User } from "../authorization.ts";
import type { AccessControl } from "./access-control.ts";

/** What reviews are answered from. */
export interface ReviewSources {
  readonly accessControl: AccessControl;
  /** Finds the user of a bearer token. */
  readonly userOfToken: (token: string) => User | undefined;
}

interface ReviewSpec {
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly namespace?: string;
  readonly token?: string;
  readonly resourceAttributes?: {
    readonly verb?: string;
    readonly group?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly nonResourceAttributes?: { readonly verb?: string; readonly path?: string };
}

function userInfo(user: User): object {
  return {
    username: user.name,
    ...(user.uid === undefined ? {} : { uid: user.uid }),
    groups: user.groups,
    ...(user.extra === undefined ? {} : { extra: user.extra }),
  };
}

function decide(control: AccessControl, user: User, spec: ReviewSpec): object {
  const { resourceAttributes: asked, nonResourceAttributes: path } = spec;
  const { allowed, reason } = control.decide(user, {
    verb: asked?.verb ?? path?.verb ?? "",
    isResource: path === undefined,
    group: asked?.group ?? "",
    resource: asked?.resource ?? "",
    subresource: asked?.subresource ?? "",
    namespace: asked?.namespace ?? "",
    name: asked?.name ?? "",
    path: path?.path ?? "",
  });
  return { allowed, ...(reason === "" ? {} : { reason }) };
}

/** Checks a review of an access (`pkg/apis/authorization/validation`). */
function checkAccessReview(kind: string, namespace: string, spec: ReviewSpec): void {
  const errors: FieldError[] = [];
  const { resourceAttributes, nonResourceAttributes } = spec;
  if ((resourceAttributes === undefined) === (nonResourceAttributes === undefined))
    errors.push(
      invalid(
        "spec.resourceAttributes",
        nonResourceAttributes ?? null,
        "exactly one of nonResourceAttributes or resourceAttributes must be specified",
      ),
    );
  if (kind !== "SelfSubjectAccessReview" && (spec.user ?? "") === "" && (spec.groups ?? []).length === 0)
    errors.push(invalid("spec.user", spec.user ?? "", "at least one of user or group must be specified"));
  if (kind === "LocalSubjectAccessReview" && resourceAttributes?.namespace !== namespace)
    errors.push(
      invalid(
        "spec.resourceAttributes.namespace",
        resourceAttributes?.namespace ?? "",
        "must match metadata.namespace",
      ),
    );
  if (errors.length > 0) throw invalidStatus({ group: "authorization.k8s.io", kind }, "", errors);
}

function listed(rules: readonly PolicyRule[], isPath: boolean): readonly PolicyRule[] {
  return rules.filter((rule) => (rule.nonResourceURLs !== undefined) === isPath);
}

/**
 * Answers a review of authentication or authorization.
 *
 * @throws StatusError 422
 */
export function answerReview(object: KubernetesObject, namespace: string, user: User, sources: ReviewSources): object {
  const { accessControl } = sources;
  const spec = (object as { spec?: ReviewSpec }).spec ?? {};
  switch (object.kind) {
    case "SelfSubjectReview":
      return { ...object, status: { userInfo: userInfo(user) } };
    case "SelfSubjectAccessReview":
      checkAccessReview(object.kind, namespace, spec);
      return { ...object, status: decide(accessControl, user, spec) };
    case "SubjectAccessReview":
    case "LocalSubjectAccessReview": {
      checkAccessReview(object.kind, namespace, spec);
      const subject: User = { name: spec.user ?? "", groups: spec.groups ?? [], access: "none" };
      return { ...object, status: decide(accessControl, subject, spec) };
    }
    case "SelfSubjectRulesReview": {
      if ((spec.namespace ?? "") === "")
        throw invalidStatus({ group: "", kind: "" }, "", [invalid("spec.namespace", "", "no namespace on request")]);
      const { rules, errors } = accessControl.rulesOf(user, spec.namespace ?? "");
      return {
        ...object,
        status: {
          resourceRules: listed(rules, false),
          nonResourceRules: listed(rules, true),
          incomplete: errors.length > 0,
          ...(errors.length === 0 ? {} : { evaluationError: errors.join(", ") }),
        },
      };
    }
    case "TokenReview": {
      const found = sources.userOfToken(spec.token ?? "");
      return {
        ...object,
        status:
          found === undefined
            ? { user: {}, error: "[invalid bearer token]" }
            : {
                authenticated: true,
                user: userInfo(found),
                audiences: ["https://kubernetes.default.svc.cluster.local"],
              },
      };
    }
    default:
      return object;
  }
}
