/**
 * DNS messages as octets and back (RFC 1035, 6891): names stay in wire form, so any octet may be in a label; compression is written where allowed
 * and read strictly backwards; what does not fit is cut record by record; hostile input ends in a `DnsMessageError` with a stable
 * code. No I/O, runs in browsers.
 *
 * ```ts
 * import { decodeMessage, encodeMessage, nameFromText, queryMessage, recordTypes } from "@portolan/dns/message";
 *
 * const query = queryMessage(7, { name: nameFromText("web.default.svc.cluster.local."), type: recordTypes.A, class: 1 });
 * decodeMessage(encodeMessage(query)).questions.length; // 1
 * ```
 *
 * @packageDocumentation
 */
export { createFrameDecoder, type FrameDecoder, frameMessage } from "./framing.ts";
export {
  createMessageEncoder,
  decodeMessage,
  type Edns,
  type EdnsOption,
  ednsOptionCodes,
  encodeMessage,
  headerFlags,
  headerLength,
  type Message,
  type MessageEncoder,
  type Question,
  queryMessage,
  readEdnsOptions,
} from "./message.ts";
export { DnsMessageError, type DnsMessageErrorCode } from "./message-error.ts";
export {
  type DomainName,
  equalNames,
  isWithin,
  joinNames,
  labelCount,
  labelsOf,
  maximumLabelLength,
  maximumNameLength,
  nameFromLabels,
  nameFromText,
  nameKey,
  nameToText,
  offsetOfZone,
  parentOf,
  readName,
  rootName,
} from "./name.ts";
export { faultReply, type Query, type QueryFault, readQuery } from "./query.ts";
export {
  type AuthorityData,
  addressRecord,
  authorityRecord,
  nameRecord,
  type PresentationWord,
  presentationWords,
  type ResourceRecord,
  readAuthorityData,
  readServiceData,
  recordDataFromText,
  recordDataToText,
  recordFromText,
  recordToText,
  type ServiceData,
  sameRecord,
  serviceRecord,
  textRecord,
} from "./record.ts";
export {
  operationCodes,
  type RecordTypeName,
  type ResponseCodeName,
  recordClasses,
  recordClassFromName,
  recordClassName,
  recordTypeFromName,
  recordTypeName,
  recordTypes,
  responseCodeName,
  responseCodes,
} from "./record-type.ts";
