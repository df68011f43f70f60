/** Workers give the compiled module for such an import. */
declare module "*.wasm" {
  const module: object;
  export default module;
}
