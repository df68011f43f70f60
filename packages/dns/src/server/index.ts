export { type AdmissionOptions, createAdmission } from "./admission.ts";
export { type AnswerCache, type AnswerCacheOptions, type CachedAnswer, createAnswerCache } from "./answer-cache.ts";
export { type Assembly, type AssemblyOptions, assembleBlocks } from "./assembly.ts";
export {
  defaultCorefile,
  durationFromText,
  type ForwardConfiguration,
  readServerConfiguration,
  type ServerBlockConfiguration,
} from "./configuration.ts";
export {
  type CorefileBlock,
  type CorefileDirective,
  CorefileError,
  type CorefileOptions,
  parseCorefile,
} from "./corefile.ts";
export { type DataplaneFeed, type FeedSchedule, feedDataplane } from "./dataplane-feed.ts";
export { type DnsServer, DnsServerError, type DnsServerOptions, startDnsServer } from "./dns-server.ts";
export {
  createForwarder,
  type ForwardEvent,
  type Forwarder,
  type ForwarderOptions,
  type ForwardPolicy,
  repliesTo,
  type Upstream,
  type UpstreamRequest,
} from "./forwarder.ts";
export type { ListenerLimits } from "./listener.ts";
export {
  type Admission,
  createQueryHandler,
  type HandlerBlock,
  type PlainAnswer,
  type PlainZone,
  type QueryClient,
  type QueryHandler,
  type QueryHandlerOptions,
  type QueryReport,
} from "./query-handler.ts";
export { createQueryLog, type QueryLogClass, type QueryLogOptions, queryLogLine } from "./query-log.ts";
export { ResolveError, type ResolveOptions, type Resolver } from "./resolver.ts";
export { createSocketUpstream, type SocketUpstreamOptions } from "./upstream-socket.ts";
export { watchZone, type ZoneWatch } from "./zone-watch.ts";
