import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { AwsError } from "../port.ts";
import { type Action, balancingActions, computeActions, type PageOf, Parameters } from "./fake-actions.ts";
import { classicActions } from "./fake-classic-actions.ts";
import { MemoryCloud } from "./memory-cloud.ts";
import { parseQuery, xmlContent } from "./query-protocol.ts";

/** One request that a fake endpoint got. */
export interface FakeRequest {
  readonly index: number;
  readonly api: "elasticloadbalancing" | "ec2";
  /** Tells the APIs of Elastic Load Balancing apart: `2015-12-01`, and `2012-06-01` for classic load balancers. */
  readonly version: string;
  readonly action: string;
}

/** Options of {@link startFakeEndpoint}. */
export interface FakeEndpointOptions {
  /** Default: a new one. */
  readonly cloud?: MemoryCloud;
  /** Entries of a page of a list. Default 400, as in AWS. */
  readonly pageSize?: number;
  /**
   * What goes wrong with a request: an error instead of its effect (`before`) or, `after` it, a connection that breaks (`drop`)
   * so that the answer is lost, or an answer that never comes (`hang`).
   */
  readonly fault?: (request: FakeRequest, phase: "before" | "after") => AwsError | "drop" | "hang" | undefined;
}

/** An HTTP server on the loopback address that speaks the query protocol of Elastic Load Balancing, v2 and classic, and EC2. */
export interface FakeEndpoint {
  /** For the SDK's option `endpoint`. */
  readonly url: string;
  readonly cloud: MemoryCloud;
  readonly requests: readonly FakeRequest[];
  close(): Promise<void>;
}

interface Api {
  readonly name: FakeRequest["api"];
  readonly version: string;
  readonly actions: Readonly<Record<string, Action>>;
}

const balancing: Api = { name: "elasticloadbalancing", version: "2015-12-01", actions: balancingActions };
const classic: Api = { name: "elasticloadbalancing", version: "2012-06-01", actions: classicActions };
const compute: Api = { name: "ec2", version: "2016-11-15", actions: computeActions };

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}

/** The API that a request is signed for, and whose version it names. The signature itself is not looked at: nobody here knows a secret. */
function apiOf(authorization: string | undefined, version: string | undefined): Api {
  const scope = /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/[^/]+\/([a-z0-9]+)\/aws4_request,/.exec(
    authorization ?? "",
  );
  if (scope?.[1] === balancing.name) return version === classic.version ? classic : balancing;
  if (scope?.[1] === compute.name) return compute;
  const message = "The request must contain a signature for elasticloadbalancing or ec2";
  throw new AwsError("MissingAuthenticationToken", message, { status: 403 });
}

function answerXml(api: Api, action: string, content: string, requestId: string): string {
  if (api === compute) {
    const opening = `<${action}Response xmlns="http://ec2.amazonaws.com/doc/${api.version}/">`;
    return `${opening}<requestId>${requestId}</requestId>${content}</${action}Response>`;
  }
  const opening = `<${action}Response xmlns="http://elasticloadbalancing.amazonaws.com/doc/${api.version}/">`;
  const metadata = `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata>`;
  return `${opening}<${action}Result>${content}</${action}Result>${metadata}</${action}Response>`;
}

function errorXml(api: Api, error: AwsError, requestId: string): string {
  const what = xmlContent({ Code: error.code, Message: error.message }, "member");
  if (api === compute) {
    return `<Response><Errors><Error>${what}</Error></Errors><RequestID>${requestId}</RequestID></Response>`;
  }
  const type = (error.status ?? 400) >= 500 ? "Receiver" : "Sender";
  const opening = `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/${api.version}/">`;
  return `${opening}<Error><Type>${type}</Type>${what}</Error><RequestId>${requestId}</RequestId></ErrorResponse>`;
}

/** Starts a fake endpoint on a free port of 127.0.0.1. */
export async function startFakeEndpoint(options: FakeEndpointOptions = {}): Promise<FakeEndpoint> {
  const { cloud = new MemoryCloud(), pageSize = 400, fault } = options;
  const requests: FakeRequest[] = [];
  const page: PageOf = (list, mark) => {
    const start = mark === undefined ? 0 : Number(mark);
    const end = start + pageSize;
    return { entries: list.slice(start, end), ...(end < list.length ? { next: String(end) } : {}) };
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = `00000000-0000-4000-8000-${String(requests.length).padStart(12, "0")}`;
    let api = balancing;
    const send = (status: number, text: string): void => {
      response.writeHead(status, { "content-type": "text/xml", "x-amzn-requestid": requestId });
      response.end(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`);
    };
    try {
      const values = parseQuery(await bodyOf(request));
      const parameters = new Parameters(values);
      api = apiOf(request.headers.authorization, parameters.text("Version"));
      const action = parameters.required("Action");
      const run = api.actions[action];
      if (run === undefined || parameters.text("Version") !== api.version) {
        throw new AwsError("InvalidAction", `The action ${action} is not valid for this web service`, { status: 400 });
      }
      const seen: FakeRequest = { index: requests.length, api: api.name, version: api.version, action };
      requests.push(seen);
      const refused = fault?.(seen, "before");
      if (refused === "hang") return;
      if (refused === "drop") return void request.socket.destroy();
      if (refused !== undefined) throw refused;
      const content = xmlContent(await run(cloud, parameters, page), api === compute ? "item" : "member");
      const lost = fault?.(seen, "after");
      if (lost === "hang") return;
      if (lost === "drop") return void request.socket.destroy();
      if (lost !== undefined) throw lost;
      send(200, answerXml(api, action, content, requestId));
    } catch (error) {
      const known = error instanceof AwsError ? error : new AwsError("InternalFailure", String(error), { status: 500 });
      send(known.status ?? 400, errorXml(api, known, requestId));
    }
  }

  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    cloud,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())));
    },
  };
}
