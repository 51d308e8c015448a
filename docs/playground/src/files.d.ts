// JSON files are bundled as texts: the examples.
declare module "*.json" {
  const text: string;
  export default text;
}
