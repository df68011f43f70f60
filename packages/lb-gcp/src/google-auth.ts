import { ProviderError } from "@portolan/lb";

interface GoogleAuthLibrary {
  readonly GoogleAuth: new (options: {
    scopes: readonly string[];
  }) => {
    getAccessToken(): Promise<string | null | undefined>;
  };
}

/**
 * A token source for `restPort` with Google's application default credentials: a key file, gcloud's login, or the machine's
 * service account. Needs the package `google-auth-library`, which is loaded when the first token is asked for.
 *
 * @throws ProviderError `Auth` if that is not installed or gives no token
 */
export function googleAuthToken(): () => Promise<string> {
  let auth: InstanceType<GoogleAuthLibrary["GoogleAuth"]> | undefined;
  // A name that the compiler cannot follow: it is an optional peer.
  const library: string = "google-auth-library";
  return async () => {
    if (auth === undefined) {
      const loaded = await import(library).catch((cause: unknown) => {
        throw new ProviderError("Auth", `${library} is not installed; run: npm install ${library}`, { cause });
      });
      const { GoogleAuth } = loaded as GoogleAuthLibrary;
      auth = new GoogleAuth({ scopes: ["https://www.googleapis.com/auth/compute"] });
    }
    const token = await auth.getAccessToken();
    if (!token) throw new ProviderError("Auth", "Google's credentials gave no access token; run: gcloud auth login");
    return token;
  };
}
